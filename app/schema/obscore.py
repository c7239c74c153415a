"""``ivoa.ObsCore``: ObsCore 1.1 with its errata, and the Rubin columns that identify an image.

Names, utypes, UCDs and units are those of REC-ObsCore-v1.1 tables 1, 4 and 6 (errata 1 and 2
applied). What a column holds here beyond the standard is said in its description.
"""

from __future__ import annotations

from typing import Final

from app.schema.columns import instant, integer, real, text
from app.schema.fields import Field, Schema, Table

OBSCORE_MODEL: Final = "ivo://ivoa.net/std/ObsCore#core-1.1"
"""IVOA identifier of the data model, as capabilities name it."""

CALIBRATED: Final = 2
"""calib_level of the exposures that templates and differences are built for."""

BUILDABLE: Final = "buildable"
BUILT: Final = "built"
STALE: Final = "stale"
"""Values of build_state."""

REQUIRED: Final = ("calib_level", "obs_collection", "obs_id", "obs_publisher_did")
"""Columns that are never null (ObsCore 1.1, table 4)."""

_DATASET: Final = (
    text(
        "dataproduct_type",
        "Data product (file content) primary type: image or cube",
        ucd="meta.code.class",
        utype="obscore:ObsDataset.dataProductType",
        principal=True,
        std=True,
    ),
    text(
        "dataproduct_subtype",
        "Data product specific type: lsst.visit_image, lsst.template_coadd, "
        "lsst.difference_image, lsst.deep_coadd or what the collection's profile says",
        ucd="meta.code.class",
        utype="obscore:ObsDataset.dataProductSubtype",
        principal=True,
        indexed=True,
        std=True,
    ),
    integer(
        "calib_level",
        "Calibration level of the observation: in {0, 1, 2, 3, 4}; 1 raw, 2 calibrated "
        "exposure, 3 coadd, template or difference",
        datatype="int",
        ucd="meta.code;obs.calib",
        utype="obscore:ObsDataset.calibLevel",
        principal=True,
        indexed=True,
        std=True,
    ),
    text(
        "obs_collection",
        "Name of the data collection",
        ucd="meta.id",
        utype="obscore:DataID.Collection",
        principal=True,
        indexed=True,
        std=True,
    ),
    text(
        "obs_id",
        "Internal ID given by the ObsTAP service",
        ucd="meta.id",
        utype="obscore:DataID.observationID",
        principal=True,
        std=True,
    ),
    text(
        "obs_title",
        "Brief description of dataset in free format",
        ucd="meta.title;obs",
        utype="obscore:DataID.Title",
        std=True,
    ),
    instant(
        "obs_creation_date",
        "Date when the dataset was created (UTC)",
        ucd="time;meta.dataset",
        utype="obscore:DataID.Date",
        std=True,
    ),
    text(
        "obs_publisher_did",
        "ID for the Dataset given by the publisher",
        ucd="meta.ref.ivoid",
        utype="obscore:Curation.PublisherDID",
        principal=True,
        indexed=True,
        std=True,
    ),
    instant(
        "obs_release_date",
        "Date from which everyone may have the dataset (UTC)",
        ucd="time.release",
        utype="obscore:Curation.releaseDate",
        std=True,
    ),
    text(
        "data_rights",
        "Who may have the dataset: public, secure or proprietary",
        ucd="meta.code",
        utype="obscore:Curation.Rights",
        std=True,
    ),
)

_ACCESS: Final = (
    text(
        "access_url",
        "URL used to access dataset: its DataLink document",
        ucd="meta.ref.url",
        utype="obscore:Access.Reference",
        principal=True,
        std=True,
        prefix_bind="service_url",
    ),
    text(
        "access_format",
        "Content format of what access_url gives",
        ucd="meta.code.mime",
        utype="obscore:Access.Format",
        principal=True,
        std=True,
    ),
    integer(
        "access_estsize",
        "Size of the dataset's file",
        unit="kbyte",
        ucd="phys.size;meta.file",
        utype="obscore:Access.Size",
        principal=True,
        std=True,
    ),
    text(
        "target_name",
        "Object of interest",
        ucd="meta.id;src",
        utype="obscore:Target.Name",
        principal=True,
        std=True,
    ),
)

_SPACE: Final = (
    real(
        "s_ra",
        "Central Spatial Position in ICRS; Right ascension",
        unit="deg",
        ucd="pos.eq.ra",
        utype="obscore:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1",
        principal=True,
        indexed=True,
        std=True,
    ),
    real(
        "s_dec",
        "Central Spatial Position in ICRS; Declination",
        unit="deg",
        ucd="pos.eq.dec",
        utype="obscore:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2",
        principal=True,
        indexed=True,
        std=True,
    ),
    real(
        "s_fov",
        "Estimated size of the covered region as the diameter of a containing circle",
        unit="deg",
        ucd="phys.angSize;instr.fov",
        utype="obscore:Char.SpatialAxis.Coverage.Bounds.Extent.diameter",
        principal=True,
        std=True,
    ),
    Field(
        name="s_region",
        kind="region",
        datatype="char",
        arraysize="*",
        xtype="adql:REGION",
        ucd="pos.outline;obs.field",
        utype="obscore:Char.SpatialAxis.Coverage.Support.Area",
        description="Sky region covered by the valid pixels of the data product, from its own "
        "WCS, as POLYGON ICRS and longitude latitude pairs in degrees",
        principal=True,
        indexed=True,
        std=True,
    ),
    real(
        "s_resolution",
        "Spatial resolution of data as FWHM of PSF",
        unit="arcsec",
        ucd="pos.angResolution",
        utype="obscore:Char.SpatialAxis.Resolution.Refval.value",
        principal=True,
        std=True,
    ),
    integer(
        "s_xel1",
        "Number of elements along the first coordinate of the spatial axis",
        ucd="meta.number",
        utype="obscore:Char.SpatialAxis.numBins1",
        std=True,
    ),
    integer(
        "s_xel2",
        "Number of elements along the second coordinate of the spatial axis",
        ucd="meta.number",
        utype="obscore:Char.SpatialAxis.numBins2",
        std=True,
    ),
    real(
        "s_pixel_scale",
        "Size of a pixel on the sky",
        unit="arcsec",
        ucd="phys.angSize;instr.pixel",
        utype="obscore:Char.SpatialAxis.Sampling.RefVal.SamplingPeriod",
        std=True,
    ),
)

_TIME: Final = (
    real(
        "t_min",
        "Start time in MJD",
        unit="d",
        ucd="time.start;obs.exposure",
        utype="obscore:Char.TimeAxis.Coverage.Bounds.Limits.StartTime",
        principal=True,
        indexed=True,
        std=True,
    ),
    real(
        "t_max",
        "Stop time in MJD",
        unit="d",
        ucd="time.end;obs.exposure",
        utype="obscore:Char.TimeAxis.Coverage.Bounds.Limits.StopTime",
        principal=True,
        std=True,
    ),
    real(
        "t_exptime",
        "Total exposure time",
        unit="s",
        ucd="time.duration;obs.exposure",
        utype="obscore:Char.TimeAxis.Coverage.Support.Extent",
        principal=True,
        std=True,
    ),
    real(
        "t_resolution",
        "Temporal resolution FWHM",
        unit="s",
        ucd="time.resolution",
        utype="obscore:Char.TimeAxis.Resolution.Refval.value",
        principal=True,
        std=True,
    ),
    integer(
        "t_xel",
        "Number of elements along the time axis",
        ucd="meta.number",
        utype="obscore:Char.TimeAxis.numBins",
        std=True,
    ),
)

_SPECTRUM: Final = (
    real(
        "em_min",
        "start in spectral coordinates (vacuum wavelength)",
        unit="m",
        ucd="em.wl;stat.min",
        utype="obscore:Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit",
        principal=True,
        std=True,
    ),
    real(
        "em_max",
        "stop in spectral coordinates (vacuum wavelength)",
        unit="m",
        ucd="em.wl;stat.max",
        utype="obscore:Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit",
        principal=True,
        std=True,
    ),
    real(
        "em_res_power",
        "Value of the resolving power along the spectral axis (R)",
        ucd="spect.resolution",
        utype="obscore:Char.SpectralAxis.Resolution.ResolPower.refVal",
        principal=True,
        std=True,
    ),
    integer(
        "em_xel",
        "Number of elements along the spectral axis",
        ucd="meta.number",
        utype="obscore:Char.SpectralAxis.numBins",
        std=True,
    ),
)

_OBSERVABLE: Final = (
    text(
        "o_ucd",
        "Nature of the observable axis",
        ucd="meta.ucd",
        utype="obscore:Char.ObservableAxis.ucd",
        principal=True,
        std=True,
    ),
    text(
        "pol_states",
        "List of polarization states, or null",
        ucd="meta.code;phys.polarization",
        utype="obscore:Char.PolarizationAxis.stateList",
        std=True,
    ),
    integer(
        "pol_xel",
        "Number of elements along the polarization axis",
        ucd="meta.number",
        utype="obscore:Char.PolarizationAxis.numBins",
        std=True,
    ),
    text(
        "facility_name",
        "The name of the facility, telescope, or space craft used for the observation",
        ucd="meta.id;instr.tel",
        utype="obscore:Provenance.ObsConfig.facility.name",
        principal=True,
        std=True,
    ),
    text(
        "instrument_name",
        "The name of the instrument used for the observation",
        ucd="meta.id;instr",
        utype="obscore:Provenance.ObsConfig.instrument.name",
        principal=True,
        std=True,
    ),
)

_RUBIN: Final = (
    integer("lsst_visit", "Identifier for a specific pointing", ucd="meta.id;obs", indexed=True),
    integer(
        "lsst_detector",
        "Identifier for CCD within the camera's focal plane",
        ucd="meta.id;instr.det",
        indexed=True,
    ),
    integer("lsst_ccdvisitid", "Identifier for visit+CCD; useful in JOINs", ucd="meta.id;obs"),
    integer(
        "lsst_tract",
        "Upper level of the coadd skymap hierarchy",
        ucd="meta.id;obs.field",
        indexed=True,
    ),
    integer(
        "lsst_patch",
        "Lower level of the coadd skymap hierarchy",
        ucd="meta.id;obs.field",
        indexed=True,
    ),
    text(
        "lsst_band",
        "Abstract filter band designation",
        ucd="meta.id;instr.filter",
        principal=True,
        indexed=True,
    ),
    text(
        "lsst_filter",
        "Physical filter designation of the camera",
        ucd="meta.id;instr.filter",
    ),
)

_BUILDS: Final = (
    text(
        "build_state",
        "Whether the image is there: buildable (its link builds it on first use), built, or "
        "stale (an input was changed or withdrawn since); null for images that were not built here",
        ucd="meta.code.status",
        principal=True,
        indexed=True,
    ),
)

OBSCORE: Final = Table(
    schema_name="ivoa",
    name="ivoa.ObsCore",
    physical="obscore",
    fields=(*_DATASET, *_ACCESS, *_SPACE, *_TIME, *_SPECTRUM, *_OBSERVABLE, *_RUBIN, *_BUILDS),
    description="Observation metadata in the ObsTAP relational realization of the IVOA ObsCore "
    "data model: one row for each image that is published, was built here or can be built",
    utype=OBSCORE_MODEL,
    positions=(("s_ra", "s_dec"),),
)

IVOA: Final = Schema(
    name="ivoa",
    description="ObsCore v1.1 attributes in ObsTAP realization",
    tables=(OBSCORE,),
)
