"""The parameters of SIA 2.0 (section 2.1): each with how it is described and what it asks of a row.

A parameter makes one condition on ``ivoa.ObsCore`` of all its values, of which one must hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Final

from app.adql.phrases import (
    all_of,
    among,
    any_of,
    at_least,
    at_most,
    call,
    column,
    is_known,
    like,
    meets,
)
from app.adql.tree import Condition
from app.errors import ParameterError, RegionError, quoted
from app.recipes.values import whole
from app.schema.fields import Field
from app.schema.obscore import OBSCORE
from app.sky.dali import parse_interval, parse_pos
from app.sky.shapes import Region
from app.stores.tables.rows import fold
from app.votable.descriptors import InputParameter, interval_input, number_input

Values = Sequence[str]
Ask = Callable[[str, Values], Condition]
"""(name of a parameter, its values) -> what is asked. Raises ParameterError."""

POLARIZATIONS: Final = (
    *("I", "Q", "U", "V", "RR", "LL", "RL", "LR"),
    *("XX", "YY", "XY", "YX", "POLI", "POLA"),
)
"""ObsCore 1.1, appendix B: what stands between slashes in pol_states."""
PRODUCT_TYPES: Final = ("image", "cube")
"""What SIA finds."""
MOST_CALIBRATED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryParameter:
    """``described`` is what clients are told of it."""

    described: InputParameter
    ask: Ask

    @property
    def name(self) -> str:
        """In upper case."""
        return self.described.name


def parse_region(given: str) -> Region:
    """A value of POS. Raises ParameterError."""
    try:
        return parse_pos(given)
    except RegionError as fault:
        raise ParameterError("POS", f"{quoted(given.strip())}: {fault.args[1]}") from None


def _meets(_name: str, values: Values) -> Condition:
    return any_of([meets("s_region", parse_region(given)) for given in dict.fromkeys(values)])


def _covers(low: str, high: str, name: str, values: Values) -> Condition:
    """Whether what lies between two columns has a part in one of the intervals."""
    return any_of([_between(low, high, *parse_interval(name, given)) for given in values])


def _between(low: str, high: str, lower: float, upper: float) -> Condition:
    """``low <= upper AND high >= lower``. An interval without ends takes every value that is known,
    as one with ends does."""
    terms = [at_most(low, upper)] if isfinite(upper) else []
    terms += [at_least(high, lower)] if isfinite(lower) else []
    return all_of(terms or [is_known(name) for name in dict.fromkeys((low, high))])


def _among(name_of_column: str, _name: str, values: Values) -> Condition:
    return among(column(name_of_column), _distinct(values))


def _identified(_name: str, values: Values) -> Condition:
    """IVOIDs are compared without case (SIA 2.0, section 2.1)."""
    return among(call("LOWER", column("obs_publisher_did")), _distinct(map(fold, values)))


def _chosen(name_of_column: str, choices: Values, name: str, values: Values) -> Condition:
    return among(column(name_of_column), [_choice(choices, name, given) for given in values])


def _polarized(name: str, values: Values) -> Condition:
    states = dict.fromkeys(_choice(POLARIZATIONS, name, given) for given in values)
    return any_of([like("pol_states", f"%/{state}/%") for state in states])


def _calibrated(name: str, values: Values) -> Condition:
    read = whole(0, MOST_CALIBRATED)
    return among(column("calib_level"), list(dict.fromkeys(read(name, v) for v in values)))


def _formatted(_name: str, values: Values) -> Condition:
    """A plus of a media type that came as a blank, and blanks after a semicolon, do not count."""
    types = (re.sub(r";\s+", ";", given.strip()).replace(" ", "+") for given in values)
    return among(column("access_format"), _distinct(types))


def _choice(choices: Values, name: str, given: str) -> str:
    word = given.strip()
    if word not in choices:
        raise ParameterError(name, f"one of {', '.join(choices)}, got {quoted(word)}")
    return word


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(given.strip() for given in values))


# -- what there is ------------------------------------------------------------------------------


def _field(name: str) -> Field:
    found = OBSCORE.find_field(name)
    assert found is not None
    return found


def _coverage(name: str, low: str, high: str, ucd: str, description: str) -> DiscoveryParameter:
    """An interval that the data are to have a part in."""
    described = interval_input(name, description, _field(low).unit, ucd)
    return DiscoveryParameter(described=described, ask=partial(_covers, low, high))


def _interval(name: str, name_of_column: str, description: str) -> DiscoveryParameter:
    """An interval in which a column is to lie."""
    field = _field(name_of_column)
    described = interval_input(name, description, field.unit, field.ucd)
    ask = partial(_covers, name_of_column, name_of_column)
    return DiscoveryParameter(described=described, ask=ask)


def _word(
    name: str,
    name_of_column: str,
    description: str,
    ask: Ask | None = None,
    options: tuple[str, ...] = (),
) -> DiscoveryParameter:
    """A text that a column is to be equal to."""
    ucd = _field(name_of_column).ucd
    described = InputParameter(name=name, description=description, ucd=ucd, options=options)
    ask = ask or partial(_among, name_of_column)
    return DiscoveryParameter(described=described, ask=ask)


_POS: Final = DiscoveryParameter(
    described=InputParameter(
        name="POS",
        unit="deg",
        ucd="pos.outline;obs",
        description="Region (ICRS) that it meets: CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 "
        "or POLYGON lon1 lat1 lon2 lat2 lon3 lat3 …",
    ),
    ask=_meets,
)

_CALIB: Final = DiscoveryParameter(
    described=number_input(
        "CALIB",
        "Calibration level: 1 raw, 2 calibrated exposure, 3 coadd, template or difference",
        ucd="meta.code;obs.calib",
        datatype="int",
        limits=("0", str(MOST_CALIBRATED)),
    ),
    ask=_calibrated,
)

PARAMETERS: Final[tuple[DiscoveryParameter, ...]] = (
    _POS,
    _coverage("BAND", "em_min", "em_max", "em.wl;stat.interval", "Wavelengths that it covers"),
    _coverage(
        "TIME", "t_min", "t_max", "time.interval;obs.exposure", "Times (MJD, UTC) that it covers"
    ),
    _word("POL", "pol_states", "Polarization state", _polarized, POLARIZATIONS),
    _interval("FOV", "s_fov", "Size: diameter of a circle about the image"),
    _interval("SPATRES", "s_resolution", "Spatial resolution: FWHM of the PSF"),
    _interval("SPECRP", "em_res_power", "Spectral resolving power"),
    _interval("EXPTIME", "t_exptime", "Exposure time"),
    _interval("TIMERES", "t_resolution", "Temporal resolution"),
    _word("ID", "obs_publisher_did", "Identifier of the image, in any case", _identified),
    _word("COLLECTION", "obs_collection", "Data collection"),
    _word("FACILITY", "facility_name", "Observatory or telescope"),
    _word("INSTRUMENT", "instrument_name", "Instrument"),
    _word(
        "DPTYPE",
        "dataproduct_type",
        "Kind of data; both unless given",
        partial(_chosen, "dataproduct_type", PRODUCT_TYPES),
        PRODUCT_TYPES,
    ),
    _word("DPSUBTYPE", "dataproduct_subtype", "Kind of image, such as lsst.difference_image"),
    _CALIB,
    _word("TARGET", "target_name", "Object of interest"),
    _word("FORMAT", "access_format", "Media type of what access_url gives", _formatted),
)
"""In the order of the standard; DPSUBTYPE is ours."""
