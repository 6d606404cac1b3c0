"""Which test runs, is skipped, or fails: the plugin's rules, without a bus. A bench that is missing is really missing."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import BenchFile

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestAssertRewriteWarning")

PLUGIN = "otabench.bench.pytest_plugin.plugin"
QUICK = ("-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception")
TWO_BENCH_TESTS = """
    def test_first(bench): pass
    def test_second(ecu): pass
    def test_without(): pass
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Without the other plugins of this environment, which take longer than the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return pytester.runpytest_inprocess("-p", PLUGIN, *QUICK, "-rsfE", *arguments)


class TestNothingIsStarted:
    def test_a_run_that_uses_no_fixture_starts_and_loads_nothing(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import sys

            def test_of_something_else():
                heavy = {"pydantic", "can", "udsoncan", "isotp", "grpc", "yaml", "otabench.bench.launcher.bench"}
                assert heavy.isdisjoint(sys.modules), heavy & set(sys.modules)
            """
        )
        result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:schemathesis")
        result.assert_outcomes(passed=1)
        assert not (pytester.path / "runs").exists()
        result.stdout.fnmatch_lines(["otabench: built-in simulators"])

    def test_a_test_that_is_skipped_does_not_bring_the_bench_up(
        self, pytester: pytest.Pytester, bench_file: BenchFile
    ) -> None:
        pytester.makepyfile(
            """
            import pytest
            @pytest.mark.feature("canfd")
            def test_fd(bench): pass
            """
        )
        run(pytester, "--bench", bench_file()).assert_outcomes(skipped=1)
        assert not (pytester.path / "runs").exists()


class TestFeatures:
    ASKING = """
        import pytest
        @pytest.mark.feature("canfd")
        def test_fd(): pass
        @pytest.mark.feature("power", "fault", ecu="engine")
        def test_power(): pass
        @pytest.mark.feature("lambda-probe")
        def test_own_word(): pass
        @pytest.mark.feature("lambda-probe", ecu="adas")
        def test_of_the_other_ecu(): pass
    """

    def test_a_missing_feature_skips_and_is_named(self, pytester: pytest.Pytester, bench_file: BenchFile) -> None:
        pytester.makepyfile(self.ASKING)
        result = run(pytester, "--bench", bench_file())
        result.assert_outcomes(passed=2, skipped=2)
        result.stdout.fnmatch_lines(
            [
                "*feature:canfd: bench my.bench.yaml has no 'canfd'; it has: fault, lambda-probe, power, simulated",
                "*feature:lambda-probe: ECU 'adas' of bench my.bench.yaml has no 'lambda-probe'; it has: *",
            ]
        )

    def test_the_bench_file_decides(self, pytester: pytest.Pytester, bench_file: BenchFile) -> None:
        pytester.makepyfile(self.ASKING)
        run(pytester, "--bench", bench_file(fd=True)).assert_outcomes(passed=3, skipped=1)

    @pytest.mark.parametrize(
        ("required", "failed"), [("feature:canfd", 1), ("feature", 2), ("all", 2), ("vcan", 0), ("feature:power", 0)]
    )
    def test_a_required_feature_that_is_missing_fails(
        self, pytester: pytest.Pytester, bench_file: BenchFile, required: str, failed: int
    ) -> None:
        pytester.makepyfile(self.ASKING)
        result = run(pytester, "--bench", bench_file(), "--require", required)
        result.assert_outcomes(passed=2, errors=failed, skipped=2 - failed)
        if failed:
            result.stdout.fnmatch_lines(
                ["*required capability 'feature:canfd' is missing: bench my.bench.yaml has no*"]
            )

    @pytest.mark.parametrize("arguments", ["", '"power", ecu="brake"', '"power", board=True'])
    def test_a_marker_that_means_nothing_fails(
        self, pytester: pytest.Pytester, bench_file: BenchFile, arguments: str
    ) -> None:
        pytester.makepyfile(f"import pytest\n@pytest.mark.feature({arguments})\ndef test_wrong(): pass\n")
        result = run(pytester, "--bench", bench_file())
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(['*feature: expected feature("canfd", …)*engine, adas*'])


class TestSkipsNameTheTest:
    def test_a_skip_by_the_plugin_stands_at_the_user_s_line(
        self, pytester: pytest.Pytester, bench_file: BenchFile
    ) -> None:
        pytester.makepyfile(
            test_users="""
            import pytest

            @pytest.mark.feature("canfd")
            def test_fd(): pass

            @pytest.mark.destructive
            def test_erases(): pass

            def test_of_the_user_s_own_mind():
                pytest.skip("not today")
            """
        )
        result = run(pytester, "--bench", bench_file())
        result.assert_outcomes(skipped=3)
        result.stdout.fnmatch_lines(
            [
                "SKIPPED [[]1[]] test_users.py:3: feature:canfd: *",
                "SKIPPED [[]1[]] test_users.py:6: destructive: *",
                "SKIPPED [[]1[]] test_users.py:10: not today",
            ]
        )


class TestHilAndDestructive:
    ASKING = """
        import pytest
        @pytest.mark.hil
        def test_board(): pass
        @pytest.mark.destructive
        def test_erases(): pass
    """

    def test_without_a_board_a_hil_test_is_skipped_by_name(
        self, pytester: pytest.Pytester, bench_file: BenchFile
    ) -> None:
        pytester.makepyfile(self.ASKING)
        result = run(pytester, "--bench", bench_file())
        result.assert_outcomes(skipped=2)
        result.stdout.fnmatch_lines(
            ["*hil: bench my.bench.yaml has no real board; *", "*destructive: *give --bench-destructive to run it"]
        )

    def test_where_a_board_is_required_its_absence_fails(
        self, pytester: pytest.Pytester, bench_file: BenchFile
    ) -> None:
        pytester.makepyfile(self.ASKING)
        result = run(pytester, "--bench", bench_file(), "--require", "hil,vcan")
        result.assert_outcomes(errors=1, skipped=1)
        result.stdout.fnmatch_lines(["*required capability 'hil' is missing: *set `kind: board`*"])

    def test_with_a_board_and_with_consent_both_run(self, pytester: pytest.Pytester, bench_file: BenchFile) -> None:
        pytester.makepyfile(self.ASKING)
        run(pytester, "--bench", bench_file(kind="board"), "--bench-destructive").assert_outcomes(passed=2)


class TestNoInterface:
    def test_without_the_virtual_bus_bench_tests_are_skipped(
        self, pytester: pytest.Pytester, bench_file: BenchFile
    ) -> None:
        pytester.makepyfile(TWO_BENCH_TESTS)
        result = run(pytester, "--bench", bench_file())
        result.assert_outcomes(passed=1, skipped=2)
        result.stdout.fnmatch_lines(["*vcan: there is no CAN interface vcan99 on this kernel; *run *with-can*"])

    def test_where_it_is_required_they_fail(self, pytester: pytest.Pytester, bench_file: BenchFile) -> None:
        pytester.makepyfile(TWO_BENCH_TESTS)
        run(pytester, "--bench", bench_file(), "--require", "vcan").assert_outcomes(passed=1, errors=2)

    def test_without_the_adapter_the_first_fails_and_the_rest_is_skipped(
        self, pytester: pytest.Pytester, bench_file: BenchFile
    ) -> None:
        pytester.makepyfile(TWO_BENCH_TESTS)
        result = run(pytester, "--bench", bench_file(channel="can97"))
        result.assert_outcomes(passed=1, errors=1, skipped=1)
        result.stdout.fnmatch_lines(
            [
                "bench my.bench.yaml does not come up: bus powertrain: there is no CAN interface can97 on this kernel; plug *",
                "SKIPPED*the bench is broken since its start: bench my.bench.yaml does not come up: *",
            ]
        )
        assert "Traceback" not in result.stdout.str()


class TestWrongUsage:
    def test_a_wrong_bench_file_ends_the_run_with_file_and_key(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(TWO_BENCH_TESTS)
        pytester.makefile(".yaml", wrong="vehicle: {vin: W0TABENCH00000003, colour: red}\nbuses: {}\necus: {}\n")
        result = run(pytester, "--bench", "wrong.yaml")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*wrong.yaml: vehicle.colour: unknown key*"])

    def test_a_run_that_needs_no_bench_does_not_read_the_file(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("def test_without(): pass")
        pytester.makefile(".yaml", wrong="nonsense")
        run(pytester, "--bench", "wrong.yaml").assert_outcomes(passed=1)

    def test_a_bench_file_that_is_not_there_is_named(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTABENCH_BENCH", "nowhere.yaml")
        result = run(pytester)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--bench (or OTABENCH_BENCH): */nowhere.yaml: there is no such bench file; *"])

    @pytest.mark.parametrize(
        ("name", "text"),
        [("vacn", "unknown capability 'vacn'; did you mean 'vcan'?*"), ("feature:", "unknown capability*")],
    )
    def test_an_unknown_requirement_is_refused(self, pytester: pytest.Pytester, name: str, text: str) -> None:
        result = run(pytester, "--require", name)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*--require: {text}"])

    def test_waiting_for_less_than_no_time_is_refused(self, pytester: pytest.Pytester) -> None:
        assert run(pytester, "--bench-wait=-1").ret == pytest.ExitCode.USAGE_ERROR


class TestWhereTheBenchFileIs:
    def test_it_is_looked_for_in_the_root_folder_too(
        self, pytester: pytest.Pytester, bench_file: BenchFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench_file()
        pytester.makeini("[pytest]\naddopts = --bench my.bench.yaml\n")
        below = pytester.mkdir("below")
        (below / "test_it.py").write_text("def test_it(bench): pass\n", encoding="utf-8")
        monkeypatch.chdir(below)
        result = run(pytester)
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["otabench: *my.bench.yaml"])

    def test_the_environment_names_it(
        self, pytester: pytest.Pytester, bench_file: BenchFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTABENCH_BENCH", bench_file())
        pytester.makepyfile("def test_it(bench): pass")
        result = run(pytester)
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["otabench: *my.bench.yaml"])


def test_a_user_s_own_fixture_of_that_name_is_not_ours(pytester: pytest.Pytester, bench_file: BenchFile) -> None:
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef bench(): return 'a piece of furniture'\n")
    pytester.makepyfile("def test_it(bench): assert bench == 'a piece of furniture'")
    run(pytester, "--bench", bench_file()).assert_outcomes(passed=1)
