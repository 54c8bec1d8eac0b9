"""What is said against files that nobody on this project made, and why a JWST user would call it true.

Holds: :data:`MALFORMED` (the folder ``evil``) and :data:`REAL` (the folder ``jwst``). Rules that reject stand beside
those that only warn. Keep out generated defects (``file_defects``).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MALFORMED", "REAL", "Malformed", "Real"]


@dataclass(frozen=True)
class Malformed:
    """One malformed file, or one that is good FITS and not JWST's.

    Attributes
    ----------
    file : str
        Its path below the folder.
    rule : str
        The rule that must catch it, for its own defect.
    words : str
        What is wrong with it.
    also : str
        What else is said, as words between spaces.
    """

    file: str
    rule: str
    words: str
    also: str = ""


@dataclass(frozen=True)
class Real:
    """One real file, with everything that is said against it; nothing of most.

    Attributes
    ----------
    file : str
        Its path below the folder.
    rules : str
        The rules that are broken, as words between spaces.
    why : str
        Why that is true of the file.
    """

    file: str
    rules: str
    why: str


_FOREIGN = "good FITS, and nothing in it says that JWST made it"
_TELESCOPE = "telescope"

MALFORMED: tuple[Malformed, ...] = (
    Malformed("HST_HRS.fits", _TELESCOPE, "good FITS of HST's HRS, without TELESCOP"),
    Malformed("IUE_LWP.fits", _TELESCOPE, "good FITS of IUE"),
    Malformed("Npix208.fits", _TELESCOPE, f"{_FOREIGN}: a HiPS tile"),
    Malformed("Random_Groups.fits", "random_groups", "random groups of an interferometer", _TELESCOPE),
    Malformed("ZPN.fits", _TELESCOPE, f"{_FOREIGN}: zenithal polynomial coordinates"),
    Malformed("ascii_i4-i20.fits", _TELESCOPE, f"{_FOREIGN}: an ASCII table of wide integers"),
    Malformed("bt12.fits.fz", "compressed_table", "a tile-compressed table, which astropy opens and cannot read"),
    Malformed("comp.fits", _TELESCOPE, f"{_FOREIGN}: a tile-compressed image"),
    Malformed("compressed_float_bzero.fits", _TELESCOPE, f"{_FOREIGN}: a compressed image with BZERO"),
    Malformed("crds_bad.fits", "data_model", "TELESCOP says JWST, IRAF wrote it: no DATAMODL, no EXP_TYPE"),
    Malformed("double_ext.fits", "keyword_repeated", "EXTNAME twice", _TELESCOPE),
    Malformed("emptyfile.fits", _TELESCOPE, "one empty header"),
    Malformed("file001.fits", _TELESCOPE, _FOREIGN),
    Malformed("filter_single_integer.fits", _TELESCOPE, f"{_FOREIGN}: a table of one column"),
    Malformed("filter_single_logical.fits", _TELESCOPE, f"{_FOREIGN}: a table of one logical column"),
    Malformed("group.fits", "random_groups", "random groups", _TELESCOPE),
    Malformed("group_invalid.fits", "random_groups", "GROUPS without the axes of random groups", _TELESCOPE),
    Malformed("header_end.fits", "fixed_format", "mandatory values in free format, END at the very end of the file",
              f"trailing_bytes {_TELESCOPE}"),
    Malformed("header_newlines.fits", "checksum", "data that do not sum to DATASUM", "keyword_repeated"),
    Malformed("header_unexpected_end.fits", "fits_structure", "a header without END"),
    Malformed("header_with_time_wcslib71.fits", "conforming", "SIMPLE = F, and bytes behind the last HDU",
              "trailing_bytes keyword_repeated"),
    Malformed("history_header.fits", _TELESCOPE, _FOREIGN),
    Malformed("idcompspec.fits", "fits_structure", "a text of IRAF that is called .fits"),
    Malformed("iter_a.fit", _TELESCOPE, _FOREIGN),
    Malformed("jwst_miri_ipc.bad-keyword.fits", "reference_file", "a reference file of MIRI with a bad keyword"),
    Malformed("lfs_pointer/jw02739-o002_t001_miri_f770w_i2d.fits", "fits_structure",
              "a git-lfs pointer in place of the file"),
    Malformed("logical_null.fits", _TELESCOPE, f"{_FOREIGN}: logical values that are not known"),
    Malformed("manual_calwebb2_asn.json", "fits_structure", "an association edited by hand, which is not even JSON"),
    Malformed("movie64.fits", _TELESCOPE, f"{_FOREIGN}: 64-bit pixels"),
    Malformed("niriss_ref_photom_bad.fits", "reference_file", "a reference file of a detector FOO"),
    Malformed("niriss_ref_photom_missing_detector.fits", "reference_file", "a reference file without a detector"),
    Malformed("pyfits_old/test0.fits", "padding", "the last block lacks 20 bytes", _TELESCOPE),
    Malformed("random_groups.fits", "random_groups", "random groups of ATCA", _TELESCOPE),
    Malformed("scale.fits", _TELESCOPE, f"{_FOREIGN}: scaled pixels of 2MASS"),
    Malformed("small_MI_corrupt_img.fits", _TELESCOPE, "good FITS of CFHT; what is corrupt of it is not the file"),
    Malformed("stddata.fits", _TELESCOPE, _FOREIGN),
    Malformed("swp06542llg.fits", _TELESCOPE, "good FITS of IUE, dated nn/nn/nn"),
    Malformed("tab-time-last-axis.fits", _TELESCOPE, f"{_FOREIGN}: coordinates in a table"),
    Malformed("tdim.fits", _TELESCOPE, f"{_FOREIGN}: a TDIM of one element"),
    Malformed("test.fits.gz", _TELESCOPE, f"{_FOREIGN}: gzip of one image"),
    Malformed("test0.fits", _TELESCOPE, "good FITS of WFPC2, dated 19/05/94, without TELESCOP"),
    Malformed("testBinaryTable.fits.fz", "compressed_table", "a tile-compressed table"),
    Malformed("test_dup.fits", "keyword_repeated", "a keyword twice", _TELESCOPE),
    Malformed("test_i10.fits", _TELESCOPE, f"{_FOREIGN}: an ASCII table of 10-digit integers"),
    Malformed("testf77.std", _TELESCOPE, _FOREIGN),
    Malformed("testprog.std", _TELESCOPE, _FOREIGN),
    Malformed("theap-gap.fits", _TELESCOPE, f"{_FOREIGN}: a gap before the heap"),
    Malformed("ticket18864.fits", "keyword_repeated", "two keywords of Hyper Suprime-Cam twice", _TELESCOPE),
    Malformed("verify.fits", "keyword_order", "NAXIS before BITPIX", _TELESCOPE),
    Malformed("vla_logical_null.fits", _TELESCOPE, f"{_FOREIGN}: logical arrays with unknown values"),
    Malformed("vla_logical_pre_fix.fits", "logical_values", "logical arrays written as 0 and 1", _TELESCOPE),
    Malformed("zerowidth.fits", _TELESCOPE, "good FITS of the VLA with a column of no width"),
)  # fmt: skip

_DERIVED = "made outside of JWST's pipeline, from its products"
_RENAMED = "renamed since it came from the archive"
_STRIPPED = "the header of a flight file without its pixels"
_SIMULATED = "simulated, as its dates before launch say"
_REFERENCE = "a reference file of CRDS and no observation"
_TEXT = "no FITS file"
_SHUTTERS = "shutters of the MSA and no observation"

REAL: tuple[Real, ...] = (
    Real("001882_prism_clear_v5.0_1D.fits", "data_model", _DERIVED),
    Real("007437_prism_clear_v3.1_1D.fits", "data_model", _DERIVED),
    Real("ERS_NGTS10_2022_new_drift_041_calints.fits",
         "name_scheme usual_hdus before_launch dates exposure_time no_position",
         f"{_SIMULATED}; no position, no VAR_FLAT, and its DATE-OBS lies three years after its EXPSTART"),
    Real("ERS_NGTS10_2022_new_drift_041_rateints.fits",
         "file_name name_scheme integration_times before_launch dates exposure_time no_position",
         f"{_SIMULATED}; no position, an empty INT_TIMES, and its DATE-OBS lies three years after its EXPSTART"),
    Real("F322W2_R_subpix1_modA_drz.fits", "name_scheme required_hdus", f"{_DERIVED}: SCI alone"),
    Real("JWST_0098_04_jw05224-o004_s000277193_nirspec_clear-prism_x1d_HDU1_NATIVE_X1D.csv", "fits_structure", _TEXT),
    Real("JWST_NIRCAM_NRCALONG_F360M_MASKRND_MASKA335R_SUB320A335R_hpfrdi_psfsub.fits",
         "file_name name_scheme required_hdus", f"{_DERIVED}: SCI alone, and FILENAME is that of its source"),
    Real("Level3_ch4-medium_s3d.fits.gz", "name_scheme", _RENAMED),
    Real("Level3_ch4-short_s3d.fits.gz", "name_scheme", _RENAMED),
    Real("NuHor_F480M.oifits", "data_model", _DERIVED),
    Real("SPCB-GD-A.msa.fits.gz", "telescope", _SHUTTERS),
    Real("UNCOVER_DR4_SPS_zspec_catalog.fits", "telescope", "a catalogue of redshifts"),
    Real("VHS1256b_NIRSpec.fits", "data_model", _DERIVED),
    Real("VV114_MIRI_ch1_SHORT_s1d.fits", "telescope", _DERIVED),
    Real("VV114_MIRI_ch4_LONG_s1d.fits", "telescope", _DERIVED),
    Real("add_wcs_default.fits", "telescope", "a header for tests, without TELESCOP"),
    Real("add_wcs_with_mast_fgs1.fits", "telescope", "a header for tests, without TELESCOP"),
    Real("cal_1.8.2/jw01345062001_03101_00001_nrs2_phot.138.1345_933.fits", "file_name name_scheme",
         "a slitlet cut out by msaexp under a name of its own, and FILENAME names another slitlet"),
    Real("calib_g395m-f290lp_iras-05248-7007_s200a1.v1.spec.fits.gz", "telescope", _DERIVED),
    Real("ceers5_f150w_i2d_cutout.fits", "telescope", _DERIVED),
    Real("combined_f360m_north_up.fits", "file_name name_scheme required_hdus",
         f"{_DERIVED}: pixels in the primary HDU, and FILENAME is that of its source"),
    Real("det_image_seq1_MIRIFUSHORT_12SHORTexp1_s3d.fits", "name_scheme before_launch", _SIMULATED),
    Real("det_image_seq1_MIRIMAGE_F560Wexp1_cal.fits.gz", "name_scheme before_launch number_types constant_data",
         f"{_SIMULATED}; every pixel is 0, as a 16-bit integer"),
    Real("exp_0.fits", "file_name name_scheme required_hdus", "a simulated header without pixels"),
    Real("exp_10.fits", "file_name name_scheme required_hdus", "a simulated header without pixels"),
    Real("fgs_acq1_guider1.fits", "name_scheme pixels_missing", f"{_STRIPPED}, renamed"),
    Real("fgs_acq2_guider2.fits", "name_scheme pixels_missing", f"{_STRIPPED}, renamed"),
    Real("fgs_fineguide_guider1.fits", "name_scheme pixels_missing", f"{_STRIPPED}, renamed"),
    Real("fgs_id-image_guider1.fits", "name_scheme pixels_missing", f"{_STRIPPED}, renamed"),
    Real("fgs_id-stack_guider2.fits", "name_scheme pixels_missing", f"{_STRIPPED}, renamed"),
    Real("fgs_track_guider1.fits", "name_scheme pixels_missing", f"{_STRIPPED}, renamed"),
    Real("hdr_niriss_mirage.fits", "file_name name_scheme required_hdus", "a simulated header with SCI alone"),
    Real("headers.fits", "exposure_type", "headers for tests, without EXP_TYPE"),
    Real("hlsp_glass-jwst_jwst_nirspec_abell2744-1324-10003_f290lp-g395h_v1_spec.fits", "community_product",
         "a high-level product of GLASS"),
    Real("jw00793001001_01101_00001_nis_uncal.fits", "usual_hdus before_launch duration units",
         f"{_SIMULATED}; no BUNIT, no INT_TIMES, and DURATION is shorter than EFFEXPTM"),
    Real("jw01022-o023_t001_miri_ch2-short_s3d_nav.fits", "file_name name_scheme required_hdus",
         f"{_DERIVED}: its errors and flags were replaced by maps of a planet"),
    Real("jw01075001001_03105_00009_nrca2_uncal.fits", "usual_hdus pixels_missing", _STRIPPED),
    Real("jw01075001001_03105_00009_nrca3_uncal.fits", "usual_hdus pixels_missing", _STRIPPED),
    Real("jw01075001001_03105_00009_nrca4_uncal.fits", "usual_hdus pixels_missing", _STRIPPED),
    Real("jw01093012001_03102_00001_nis_cal.fits", "", ""),
    Real("jw01093014001_03102_00002_nis_cal.fits", "", ""),
    Real("jw01093015001_03104_00001_nis_cal.fits", "", ""),
    Real("jw01185002001_01101_00001-seg006_nrca3_rateints_I01226.fits", "file_name name_scheme required_hdus",
         "one integration cut out of a time series, with its pixels in the primary HDU"),
    Real("jw01185016001_01101_00001-seg005_nrca3_rateints_I01530.fits", "file_name name_scheme required_hdus",
         "one integration cut out of a time series, with its pixels in the primary HDU"),
    Real("jw01288015001_04101_00001_mirimage_i2d.fits", "", ""),
    Real("jw01288015001_26101_00003_mirimage_i2d.fits", "", ""),
    Real("jw01345062001_03101_00001_nrs2_phot.138.1345_933.fits", "name_scheme",
         "a slitlet cut out by msaexp under a name of its own"),
    Real("jw01345062001_03101_00002_nrs2_phot.138.1345_933.fits", "name_scheme",
         "a slitlet cut out by msaexp under a name of its own"),
    Real("jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_s2d.fits", "footprint",
         "S_REGION reaches from -70 to +22 degrees of declination; the target lies at -70"),
    Real("jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_x1d.fits", "finite_fraction",
         "14 of 1426 values of FLUX are numbers"),
    Real("jw01538-o062_t002_nirspec_g395h-f290lp_x1d.fits", "", ""),
    Real("jw01837004002_08201_00002_nrcb1_cal_claws_seed_image_masked.fits.gz", "telescope", _DERIVED),
    Real("jw02561002003_01_msa.fits.gz", "supporting_file", _SHUTTERS),
    Real("jw02565-o007_s000020115_nirspec_clear-prism_cal.fits", "", ""),
    Real("jw02565-o007_s000020115_nirspec_clear-prism_s2d.fits", "", ""),
    Real("jw02565-o007_s20115_nirspec_clear-prism_s2d.fits", "", ""),
    Real("jw02565007001_01_msa.fits", "supporting_file", _SHUTTERS),
    Real("jw02565007001_01_msa_original.fits", "supporting_file", _SHUTTERS),
    Real("jw02565007001_03101_00002_nrs2_cal.fits", "", ""),
    Real("jw02565007001_03101_00002_nrs2_s2d.fits", "", ""),
    Real("jw02565007001_03101_00002_nrs2_x1d.fits", "", ""),
    Real("jw02565007001_03101_00003_nrs2_s2d.fits", "", ""),
    Real("jw02733-o001_t001_nircam_f444w-f470n_i2d.fits.0.txt", "fits_structure", "a header as text"),
    Real("jw02733-o001_t001_nircam_f444w-f470n_i2d.fits.1.txt", "fits_structure", "a header as text"),
    Real("jw02733-o001_t001_nircam_f444w-f470n_i2d.fits.2.txt", "fits_structure", "a header as text"),
    Real("jw42424001001_01101_00001_nrca5_uncal_dispersed_GRISMR_crossing_F356W_rate.fits.gz",
         "name_scheme before_launch duration number_types constant_data",
         f"{_SIMULATED}; every pixel is 0, as a 16-bit integer, and DURATION is shorter than EFFEXPTM"),
    Real("jwst_miri_apcorr_0014.fits", "reference_file", _REFERENCE),
    Real("jwst_miri_small.fits", "data_model", "a header for tests, without DATAMODL"),
    Real("jwst_miri_specwcs_0006.fits", "reference_file", _REFERENCE),
    Real("jwst_niriss_spectrace_0023.fits", "reference_file", _REFERENCE),
    Real("jwst_nirspec_ipc_with_asdf_extension.fits", "reference_file", _REFERENCE),
    Real("jwst_nirspec_photom_0014.fits", "reference_file", _REFERENCE),
    Real("jwst_nod1_cal.fits", "name_scheme usual_hdus before_launch dates no_position units constant_data",
         f"{_SIMULATED}; no position, no BUNIT, no variances, and every pixel is 1"),
    Real("manual_calwebb3_asn.json", "fits_structure", _TEXT),
    Real("niriss_jw01324001001_test.beams.fits", "telescope", _DERIVED),
    Real("pypi/test.fits", "data_model", "a file of MIRI from before launch, without DATAMODL"),
    Real("static-test-driz-center-bkg_933.spec.fits", "telescope", _DERIVED),
    Real("step_SourceCatalogStep_cat.ecsv", "fits_structure", _TEXT),
    Real("test.oifits", "telescope", "a file for tests"),
    Real("test1_cal.fits", "name_scheme before_launch engineering constant_data",
         f"{_SIMULATED}; ENG_QUAL is SUSPECT, and every pixel is 0"),
    Real("transposed_det_image_seq5_MIRIMAGE_P750Lexp1_s2d.fits", "telescope", _DERIVED),
)  # fmt: skip
