"""Shares of the styles of a model."""

import math

from stylecli.core.model_names import match_name
from stylecli.errors import StyleCliError, choose_from


def parse_mix(text: str | None, styles: list[str]) -> list[float]:
    """The share of each style in a blend; together they are 1.

    Args:
        text: a style, such as ``a``; a blend, such as ``a:0.7,b:0.3``; or None, if there is only
            one style.
        styles: the names of the styles in the model.

    Raises:
        StyleCliError: there is no such style, a share is not a number, or all are 0.
    """
    if text is None and len(styles) == 1:
        return [1.0]
    if text is None:
        raise StyleCliError(
            f"the model holds {len(styles)} styles, and none was chosen",
            hint=f"pass --style with one of: {', '.join(styles)}; or a blend: a:0.7,b:0.3",
        )
    shares = dict.fromkeys(styles, 0.0)
    for part in text.split(","):
        name, _, share = part.strip().partition(":")
        known = match_name(name, styles)
        if known is None:
            raise StyleCliError(f"the model has no style {name!r}", hint=choose_from(name, styles))
        shares[known] += _share(share or "1", part)
    total = sum(shares.values())
    if not total:
        raise StyleCliError(f"the shares of {text} add up to 0", hint="such as: a:0.7,b:0.3")
    return [share / total for share in shares.values()]


def _share(text: str, part: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise StyleCliError(f"{part!r} is not a share of a style", hint="such as: a:0.7,b:0.3")
    return share
