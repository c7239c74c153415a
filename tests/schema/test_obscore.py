"""ivoa.ObsCore is described as the standard and the validators want it."""

from __future__ import annotations

import pytest

from app.schema.obscore import OBSCORE, REQUIRED

CHAR, INTEGER, DOUBLE = {"char"}, {"short", "int", "long"}, {"float", "double"}
SPATIAL = "Char.SpatialAxis."
TIME = "Char.TimeAxis."
SPECTRAL = "Char.SpectralAxis."
CENTRE = SPATIAL + "Coverage.Location.Coord.Position2D.Value2."

# name: (datatypes, utype, UCD, unit), as ObsCore 1.1 (with errata 1 and 2) and taplint have them.
MANDATORY = {
    "dataproduct_type": (CHAR, "ObsDataset.dataProductType", "meta.code.class", None),
    "calib_level": (INTEGER, "ObsDataset.calibLevel", "meta.code;obs.calib", None),
    "obs_collection": (CHAR, "DataID.Collection", "meta.id", None),
    "obs_id": (CHAR, "DataID.observationID", "meta.id", None),
    "obs_publisher_did": (CHAR, "Curation.PublisherDID", "meta.ref.ivoid", None),
    "access_url": (CHAR, "Access.Reference", "meta.ref.url", None),
    "access_format": (CHAR, "Access.Format", "meta.code.mime", None),
    "access_estsize": (INTEGER, "Access.Size", "phys.size;meta.file", "kbyte"),
    "target_name": (CHAR, "Target.Name", "meta.id;src", None),
    "s_ra": (DOUBLE, CENTRE + "C1", "pos.eq.ra", "deg"),
    "s_dec": (DOUBLE, CENTRE + "C2", "pos.eq.dec", "deg"),
    "s_fov": (
        DOUBLE,
        SPATIAL + "Coverage.Bounds.Extent.diameter",
        "phys.angSize;instr.fov",
        "deg",
    ),
    "s_region": (CHAR, SPATIAL + "Coverage.Support.Area", "pos.outline;obs.field", None),
    "s_resolution": (DOUBLE, SPATIAL + "Resolution.Refval.value", "pos.angResolution", "arcsec"),
    "t_min": (DOUBLE, TIME + "Coverage.Bounds.Limits.StartTime", "time.start;obs.exposure", "d"),
    "t_max": (DOUBLE, TIME + "Coverage.Bounds.Limits.StopTime", "time.end;obs.exposure", "d"),
    "t_exptime": (DOUBLE, TIME + "Coverage.Support.Extent", "time.duration;obs.exposure", "s"),
    "t_resolution": (DOUBLE, TIME + "Resolution.Refval.value", "time.resolution", "s"),
    "em_min": (DOUBLE, SPECTRAL + "Coverage.Bounds.Limits.LoLimit", "em.wl;stat.min", "m"),
    "em_max": (DOUBLE, SPECTRAL + "Coverage.Bounds.Limits.HiLimit", "em.wl;stat.max", "m"),
    "em_res_power": (DOUBLE, SPECTRAL + "Resolution.ResolPower.refVal", "spect.resolution", None),
    "o_ucd": (CHAR, "Char.ObservableAxis.ucd", "meta.ucd", None),
    "pol_states": (CHAR, "Char.PolarizationAxis.stateList", "meta.code;phys.polarization", None),
    "facility_name": (CHAR, "Provenance.ObsConfig.facility.name", "meta.id;instr.tel", None),
    "instrument_name": (CHAR, "Provenance.ObsConfig.instrument.name", "meta.id;instr", None),
    "s_xel1": (INTEGER, SPATIAL + "numBins1", "meta.number", None),
    "s_xel2": (INTEGER, SPATIAL + "numBins2", "meta.number", None),
    "t_xel": (INTEGER, TIME + "numBins", "meta.number", None),
    "em_xel": (INTEGER, SPECTRAL + "numBins", "meta.number", None),
    "pol_xel": (INTEGER, "Char.PolarizationAxis.numBins", "meta.number", None),
}
OPTIONAL = {
    "dataproduct_subtype": (CHAR, "ObsDataset.dataProductSubtype", "meta.code.class", None),
    "obs_title": (CHAR, "DataID.Title", "meta.title;obs", None),
    "obs_creation_date": (CHAR, "DataID.Date", "time;meta.dataset", None),
    "obs_release_date": (CHAR, "Curation.releaseDate", "time.release", None),
    "data_rights": (CHAR, "Curation.Rights", "meta.code", None),
    "s_pixel_scale": (
        DOUBLE,
        SPATIAL + "Sampling.RefVal.SamplingPeriod",
        "phys.angSize;instr.pixel",
        "arcsec",
    ),
}
RUBIN = {
    "lsst_visit": "long",
    "lsst_detector": "long",
    "lsst_ccdvisitid": "long",
    "lsst_tract": "long",
    "lsst_patch": "long",
    "lsst_band": "char",
    "lsst_filter": "char",
}


@pytest.mark.parametrize("name", [*MANDATORY, *OPTIONAL])
def test_a_standard_column_is_as_the_standard_says(name: str) -> None:
    datatypes, utype, ucd, unit = (MANDATORY | OPTIONAL)[name]
    field = OBSCORE.find_field(name)
    assert field is not None
    assert field.datatype in datatypes
    assert (field.utype, field.ucd, field.unit) == (f"obscore:{utype}", ucd, unit)
    assert field.std
    assert field.arraysize == ("*" if field.datatype == "char" else None)


@pytest.mark.parametrize("name", RUBIN)
def test_the_rubin_columns_are_there(name: str) -> None:
    field = OBSCORE.find_field(name)
    assert field is not None
    assert field.datatype == RUBIN[name]
    assert not field.std


def test_every_column_is_described_and_named_once() -> None:
    names = [field.name for field in OBSCORE.fields]
    assert set(names) == {*MANDATORY, *OPTIONAL, *RUBIN, "build_state"}
    assert len(names) == len(set(names))
    assert all(field.description for field in OBSCORE.fields)


def test_regions_and_instants_carry_their_extended_type() -> None:
    xtypes = {field.name: field.xtype for field in OBSCORE.fields if field.xtype}
    assert xtypes == {
        "s_region": "adql:REGION",
        "obs_creation_date": "timestamp",
        "obs_release_date": "timestamp",
    }


def test_required_columns_are_those_that_must_not_be_null() -> None:
    assert set(REQUIRED) == {"calib_level", "obs_collection", "obs_id", "obs_publisher_did"}
