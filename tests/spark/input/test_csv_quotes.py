"""What a CSV file's first lines say of its columns; no Spark is needed for it."""

from churn_spark.spark.input.quotes import BACKSLASH, DOUBLED, KINDS, Form, column_kinds, whole_lines

FORM = Form("id,age,note", ",", DOUBLED)


def test_whole_lines_leaves_out_what_stands_inside_a_quoted_field() -> None:
    lines = ["a1,2,x", 'a2,3,"two', "b, c, d", 'end"', 'a3,4,"one ""line"""']
    assert whole_lines(lines, FORM) == ["a1,2,x", 'a3,4,"one ""line"""']
    escaped = FORM._replace(escape=BACKSLASH)
    assert whole_lines([r'a1,2,"5\""', r'a2,3,"C:\\"', "a3,4,x"], escaped) == [
        r'a1,2,"5\""',
        r'a2,3,"C:\\"',
        "a3,4,x",
    ]


def test_column_kinds_are_the_narrowest_that_all_values_have() -> None:
    lines = ["id,age,note", "a1,2,words of a note", "b22,3.5,", 'c3,4,"open', "and, some, more"]
    assert column_kinds(lines, FORM) == [KINDS[1], KINDS[0], None]
    assert column_kinds(["id,age,note", "a,,one"], FORM) == [None, None, None]
