"""The plots' typeface: DejaVu Sans without what no plot needs of it.

Every PDF holds the part of the font that it uses. Matplotlib cuts that part out of the whole font
anew for each PDF, which takes longer than drawing, mostly for characters and tables of ligatures
that no plot has. So the font is reduced once a process, to Latin letters and the signs that stand
among them. Other characters come from the whole font, which follows in the style's list.
"""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path

FAMILY = "Report Sans"
WHOLE = "DejaVu Sans"
_CHARACTERS = (*range(0x20, 0x7F), *range(0xA0, 0x250), *range(0x2010, 0x2027), 0x2212)
_FAMILY_NAMES = (1, 16)  # in a font's table of names: plain and typographic


@cache
def register_typeface() -> None:
    """Make the font known to matplotlib as ``FAMILY``, from a file that goes with this process."""
    from fontTools import subset
    from matplotlib import font_manager

    # Kerning stays, in the short table of old. Ligatures go with the others, which is as well: who
    # searches a PDF for a name with "fi" is to find it.
    options = subset.Options(legacy_kern=True, notdef_outline=True, glyph_names=True)
    options.drop_tables += ["FFTM", "GDEF", "GPOS", "GSUB", "MATH"]
    folder = tempfile.TemporaryDirectory(prefix="benchmark-typeface-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "report-sans.ttf"
    with subset.load_font(font_manager.findfont(WHOLE), options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=_CHARACTERS)
        subsetter.subset(font)
        for name in font["name"].names:
            if name.nameID in _FAMILY_NAMES:
                name.string = FAMILY
        font.save(path)
    font_manager.fontManager.addfont(path)
