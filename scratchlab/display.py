"""How a value looks in a notebook: its text, always, and HTML where somebody has taught us some.

Data classes call `bundle`; `scratchlab.views` registers with `html`. So data never imports pictures, and a program that draws
nothing pays nothing for them.
"""

from functools import singledispatch

UNATTENDED = "SCRATCHLAB_UNATTENDED"  # in the environment: nobody is there to look or to answer


@singledispatch
def html(value: object) -> str | None:
    """The value as HTML that is safe to show; None where there is nothing better than its text."""
    return None


def bundle(value: object) -> dict[str, str]:
    """What `_repr_mimebundle_` answers: text/plain is the truth, text/html says the same."""
    picture = html(value)
    return {"text/plain": repr(value)} | ({} if picture is None else {"text/html": picture})
