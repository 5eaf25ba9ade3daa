"""Events from strain files: what the files say, what fits, a noise level of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strain_files import RATE, START, TGPS, strain_values, write_gwosc

from dotpe_exec.errors import DotpeExecError, EventError, InputError, MissingFileError
from dotpe_exec.events import event_from_strain
from dotpe_exec.events.spans import fit_spans
from dotpe_exec.events.strain import Strain, detector_letters, read_strain, valid_around


@pytest.fixture
def files(tmp_path):
    return [write_gwosc(tmp_path, detector) for detector in "HL"]


class TestDetectors:
    @pytest.mark.parametrize(
        "given", ["HL", "H1,L1", "H,L", "H1L1", "h1, l1", ["H", "L"], ("H1", "L1")]
    )
    def test_spellings(self, given):
        assert detector_letters(given) == ("H", "L")

    @pytest.mark.parametrize("given", ["", "1", "H-L", [""], "H11"])
    def test_nonsense_is_refused(self, given):
        with pytest.raises(InputError, match="detectors are"):
            detector_letters(given)

    def test_files_name_them(self, files):
        assert event_from_strain(files, "x", None, TGPS).detector_names == ("H", "L")
        swapped = event_from_strain(files[::-1], "x", None, TGPS)
        assert swapped.detector_names == ("L", "H")

    def test_a_wrong_one_is_refused(self, files):
        with pytest.raises(EventError, match=r"is of detector H, but detectors say L"):
            event_from_strain(files, "x", "L1,H1", TGPS)

    def test_one_file_twice_is_refused(self, files):
        with pytest.raises(EventError, match="twice"):
            event_from_strain([files[0]] * 2, "x", None, TGPS)

    def test_public_files_name_theirs(self, strain):
        letters = [read_strain(path).detector for path in sorted(strain.glob("*.hdf5"))]
        assert letters == ["H", "L"]

    def test_text_without_a_name_says_nothing(self, tmp_path):
        path = tmp_path / "strain.txt"
        times = START + np.arange(RATE * 8) / RATE
        np.savetxt(path, np.column_stack([times, strain_values("H", 8)]), fmt="%.20g")
        with pytest.raises(EventError, match="give detectors"):
            event_from_strain([path], "x", None, START + 4.0)
        assert event_from_strain([path], "x", "H", START + 4.0).detector_names == ("H",)


class TestFrames:
    @pytest.fixture
    def frame(self, tmp_path):
        from gwpy.timeseries import TimeSeries

        name = "L1:GWOSC-4KHZ_R1_STRAIN"
        series = TimeSeries(strain_values("L", 32), sample_rate=RATE, t0=START, name=name)
        series.write(tmp_path / "data.gwf", format="gwf")
        return tmp_path / "data.gwf"

    def test_frame_gives_the_event_of_the_same_hdf5(self, frame, tmp_path):
        from_frame = event_from_strain([frame], "x", None, TGPS)
        reference = event_from_strain([write_gwosc(tmp_path, "L")], "x", None, TGPS)
        assert from_frame.detector_names == ("L",)
        np.testing.assert_array_equal(from_frame.strain, reference.strain)

    def test_damaged_frame_is_refused(self, frame):
        frame.write_bytes(frame.read_bytes()[:1000])
        with pytest.raises(EventError, match=r"data\.gwf"):
            event_from_strain([frame], "x", "L", TGPS)


class TestSpans:
    def test_short_public_files_work_as_they_are(self, strain):
        files = sorted(strain.glob("*.hdf5"))
        made = event_from_strain(files, "GW150914", tgps=1126259462.4)
        assert made.tcoarse == 12 and 1 / made.df == pytest.approx(24)
        assert made.fbounds == pytest.approx((20, 1024))

    def test_what_is_given_is_taken(self, files):
        made = event_from_strain(files, "x", tgps=TGPS, t_before=12, fmax=256)
        assert made.tcoarse == 16 and made.frequencies[-1] == 256

    def test_sampling_limits_the_band(self, files):
        assert event_from_strain(files, "x", tgps=TGPS).frequencies[-1] == RATE / 2
        with pytest.raises(InputError, match="half the sampling rate"):
            event_from_strain(files, "x", tgps=TGPS, fmax=RATE)

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"t_before": 16}, r"16\.4 s of valid data before .* t_before of at most 15 s"),
            ({"wht_filter_duration": 32}, r"valid data before the event, less than"),
            ({"wht_filter_duration": 64}, r"wht_filter_duration is 64 s, but .* 32 s"),
            ({"t_after": 0}, "t_after is 0"),
        ],
    )
    def test_what_does_not_fit_says_what_would(self, files, asked, message):
        with pytest.raises((EventError, InputError), match=message):
            event_from_strain(files, "x", tgps=TGPS, **asked)

    def test_wrong_time_names_the_span_of_the_file(self, files):
        with pytest.raises(EventError, match="from GPS time 1126259446 to 1126259478"):
            event_from_strain(files, "x", tgps=TGPS - 1e6)
        with pytest.raises(InputError, match="tgps is missing"):
            event_from_strain(files, "x")

    def test_gap_ends_the_data(self, tmp_path):
        path = write_gwosc(tmp_path, gap=(10, 11))
        made = event_from_strain([path], "x", tgps=TGPS)
        assert made.tcoarse <= 5.4
        with pytest.raises(EventError, match="gap"):
            event_from_strain([path], "x", tgps=START + 10.5)

    @settings(max_examples=50, deadline=None)
    @given(
        duration=st.floats(0.5, 300),
        share=st.floats(0.01, 0.99),
        asked=st.fixed_dictionaries(
            {},
            optional={
                name: st.floats(0.5, 100)
                for name in ("t_before", "t_after", "wht_filter_duration")
            },
        ),
    )
    def test_spans_are_in_the_data(self, duration, share, asked):
        from gwpy.timeseries import TimeSeries

        series = TimeSeries(np.ones(int(duration * 16)), sample_rate=16, t0=START)
        strain = valid_around(Strain("x", series, "H"), START + share * (duration - 0.1))
        tgps = START + share * (duration - 0.1)
        try:
            spans = fit_spans([strain], tgps, **asked)
        except DotpeExecError as error:
            assert "\n" not in str(error)
            return
        half = spans.wht_filter_duration / 2
        assert tgps - strain.start >= spans.t_before + half
        assert strain.end - tgps >= spans.t_after + half
        assert min(spans.t_before, spans.t_after, half) > 0
        for name, value in asked.items():
            assert getattr(spans, name) == value


class TestOwnPsd:
    @pytest.fixture
    def psd(self, tmp_path):
        """The noise of the files is white: its one-sided density is known."""
        path = tmp_path / "psd.txt"
        frequencies = np.arange(1, 1025)
        np.savetxt(path, np.column_stack([frequencies, np.full(1024, 1e-42 * 2 / RATE)]))
        return path

    def test_whitened_noise_has_unit_variance(self, files, psd):
        made = event_from_strain(files, "x", tgps=TGPS, psds=[psd, psd], fmin=20)
        middle = made.get_whitened_td()[:, made.nfft // 3 : -made.nfft // 3]
        # Of white noise, the part above fmin is left.
        assert np.std(middle, axis=1) == pytest.approx(1.0, abs=0.06)

    def test_measured_psd_given_back_gives_the_same_event(self, files, tmp_path):
        """The filter is made as cogwheel makes it from what it measures."""
        measured = event_from_strain(files[:1], "x", tgps=TGPS, fmax=256)
        series = valid_around(read_strain(files[0]), TGPS).series.detrend()
        asd = series.asd(8.0, overlap=4.0, method="median", window="hann")
        asd = asd.interpolate(measured.df)
        table = np.column_stack([asd.frequencies.value, asd.value**2])[1:]
        np.savetxt(tmp_path / "own.txt", table)
        own = event_from_strain(
            files[:1], "x", tgps=TGPS, fmax=256, psds={"H1": tmp_path / "own.txt"}
        )
        np.testing.assert_array_equal(own.strain, measured.strain)
        scale = measured.wht_filter.max()
        np.testing.assert_allclose(
            own.wht_filter, measured.wht_filter, rtol=1e-6, atol=1e-9 * scale
        )

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([[1, 1e-46], [100, 1e-46]], "covers 1 to 100 Hz, expected 20 to 512 Hz"),
            ([[1, 1e-23], [1000, 1e-23]], "amplitude spectral densities"),
            ([[1000, 1e-46], [1, 1e-46]], "ascending"),
            ([[1, 2, 3]], "two columns"),
        ],
    )
    def test_unusable_ones_are_refused(self, files, tmp_path, rows, message):
        np.savetxt(tmp_path / "psd.txt", np.array(rows, dtype=float))
        with pytest.raises(InputError, match=message):
            event_from_strain(files[:1], "x", tgps=TGPS, psds=[tmp_path / "psd.txt"])

    def test_each_detector_needs_one(self, files, psd, tmp_path):
        with pytest.raises(InputError, match="one for each of H, L"):
            event_from_strain(files, "x", tgps=TGPS, psds=[psd])
        with pytest.raises(InputError, match="given for H, V"):
            event_from_strain(files, "x", tgps=TGPS, psds={"H1": psd, "V1": psd})
        with pytest.raises(MissingFileError, match=r"no\.txt"):
            event_from_strain(files[:1], "x", tgps=TGPS, psds=[tmp_path / "no.txt"])
