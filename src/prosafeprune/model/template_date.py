"""The date that chat templates write: the same one every day, since results must not depend on the day."""

DATE = {
    **{"%Y": "2025", "%y": "25", "%m": "01", "%-m": "1", "%B": "January", "%b": "Jan", "%d": "01", "%-d": "1"},
    **{"%e": " 1", "%A": "Wednesday", "%a": "Wed", "%j": "001", "%H": "00", "%I": "12", "%M": "00", "%S": "00"},
    **{"%p": "AM", "%F": "2025-01-01", "%T": "00:00:00"},
}
"""The first of January 2025, by the codes of a date's format."""
FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{{- format"
    + "".join(f"|replace({code!r}, {written!r})" for code, written in DATE.items())
    + " -}}{%- endmacro -%}"
)
"""Text put before templates that write today's date: a macro of the name of the function that they call for it."""
