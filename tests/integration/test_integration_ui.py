"""What a person sees in a real browser: graph, partitions, checks, pictures, launchpad, reports, the live stream.

With HWOSIM_SCREENSHOTS=docs/images the pages are kept as the pictures of the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from dev_session import FIRST, DevSession, until
from flawed import displaced, ended_early, flawed_copy
from screens import keep

from hwosim_assets.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2700)]

#: A program of which one file has a wrong WCS, and one ends before it starts.
FLAWED = "97004"
AUTOMATED = {"clean", "nominal_l2", "ground_segment_bad_day"}
PROGRAM = FIRST[0][2:7]
GROUPS = ("mast", "raw", "catalog", "perturbed", "truth", "stream", "report", "kafka")
#: Milliseconds; a page takes one or two seconds on an idle machine.
PAGE_MS = 60_000
WIDTH, HEIGHT = 1600, 900
#: The height of a page on which the whole way of a file is seen.
TALL = 2000
#: Where the button lies, from the lower right corner, that opens the graph's menu; it has no name.
GRAPH_MENU = (27, 108)


@pytest.fixture(scope="module")
def published(dev: DevSession) -> DevSession:
    """Return the session once its first program is published and nothing runs."""
    until("the first program to be published", lambda: all(dev.verified(name, AUTOMATED) for name in FIRST))
    until("its runs to end", lambda: dev.unsettled_runs() == 0)
    return dev


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield a window of 1600 by 900; a test's parameter says how many pixels of a picture each of its pixels has."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=getattr(request, "param", 1)
    )
    # Dagster's menu folded away: what is left is ours.
    context.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")
    opened = context.new_page()
    opened.set_default_timeout(PAGE_MS)
    yield opened
    context.close()


def _open(page: Any, url: str) -> None:
    page.goto(url, wait_until="networkidle")


@pytest.mark.parametrize("page", [2], indirect=True, ids=["large"])
def test_the_graph_goes_from_the_archive_to_the_topics(published: DevSession, page: Any) -> None:
    unfolded = quote(",".join(f"global@global:{group}" for group in GROUPS))
    nodes = published.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]
    keys = [node["assetKey"]["path"] for node in nodes]
    others = {path[1] for path in keys if path[0] == "perturbed"} - set(Settings().automated())
    words = ['not group:"report"', *(f'not key:"*/{name}"' for name in sorted(others))]
    selection = quote(" and ".join(words), safe="")
    _open(page, f"{published.url}/asset-groups~{selection}/?expanded={unfolded}")
    page.locator("xpath=//input[starts-with(@placeholder,'Jump to')]/following::button[1]").click()
    for turned in ("vertical", "horizontal"):  # turning the graph twice fits it into the window anew
        page.wait_for_timeout(1500)  # it moves until it is laid out, and a menu closes when it does
        page.mouse.click(WIDTH - GRAPH_MENU[0], HEIGHT - GRAPH_MENU[1])
        page.get_by_text(f"Change graph to {turned}").click()
        page.wait_for_timeout(1500)
    shown = page.locator("body").inner_text().split("\n")
    for group, name in (path for path in keys if path[0] != "report" and path[1] not in others):
        assert group in shown
        assert any(_is_short_for(text, name) for text in shown), name
    boxes = [page.get_by_text(text, exact=True).first.bounding_box() for text in ("mast", "kafka", "catalog", "truth")]
    nodes = [box for box in (each.bounding_box() for each in page.get_by_text("nominal_l2", exact=True).all()) if box]
    top, left = min(box["y"] for box in boxes) - 40, boxes[0]["x"] - 40
    clip = {"x": left, "y": top, "width": boxes[1]["x"] + 290 - left, "height": max(n["y"] for n in nodes) + 60 - top}
    keep(page, "graph", clip=clip)


def _is_short_for(text: str, name: str) -> bool:
    """Tell whether a label is a name, or the name with its middle left out."""
    start, dots, end = text.partition("…")
    return name == text or bool(dots and name.startswith(start) and name.endswith(end))


def test_the_partitions_page_lists_the_programs(published: DevSession, page: Any) -> None:
    _open(page, f"{published.url}/assets/raw/fits_files?view=partitions&partition={PROGRAM}")
    page.get_by_text("Latest materialization").first.wait_for()
    asked = '{ assetNodes(assetKeys: [{path: ["raw", "fits_files"]}]) { partitionKeys } }'
    programs = published.graphql(asked)["assetNodes"][0]["partitionKeys"]
    assert PROGRAM in programs
    for program in programs:
        page.get_by_text(program, exact=True).first.wait_for()
    page.get_by_text(FIRST[0]).first.wait_for()
    keep(page, "partitions")


def test_a_check_shows_its_numbers_and_links_to_its_report(published: DevSession, page: Any) -> None:
    _open(page, f"{published.url}/assets/catalog/products?view=checks&checkDetail=counts_reconcile")
    page.get_by_text("Latest execution").wait_for()
    page.get_by_text("Evaluation result").wait_for()
    shown = page.locator("body").inner_text()
    for said in ("Passed", "blocking", "summary", "unexpected"):
        assert said in shown, said
    keep(page, "checks")
    link = page.locator(f"a[href^='{published.report_url}/reports/']").first
    target = link.get_attribute("href")
    _open(page, target)
    assert "catalog/products" in page.locator("body").inner_text()


def test_a_materialization_shows_its_product_before_and_after(published: DevSession, page: Any) -> None:
    _open(page, f"{published.url}/assets/perturbed/ground_segment_bad_day?view=partitions&partition={PROGRAM}")
    page.get_by_text("before and after").wait_for()
    page.get_by_text("[Show Markdown]").click()
    picture = page.locator("img[src^='data:image/png']")
    picture.wait_for()
    width, height = picture.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert width > 100
    assert height > 100
    page.wait_for_timeout(500)
    keep(page, "picture")


def test_the_launchpad_takes_a_run_with_other_numbers_to_the_live_page(published: DevSession, page: Any) -> None:
    """The derived scenario has a name of its own; what it publishes is seen while it comes."""
    before = published.publications()
    live = page.context.new_page()
    live.goto(f"{published.report_url}/live")
    # A script that waits is a string, which the page's policy lets nobody evaluate once it has to be asked twice.
    live.locator('#totals:text-matches("^\\\\s*0 messages")').wait_for()
    _open(page, f"{published.url}/locations/hwosim_streaming/jobs/try_scenario_job/playground")
    page.get_by_placeholder("Partition").click()
    page.get_by_text(PROGRAM, exact=True).first.click()
    page.get_by_text("severity", exact=False).first.wait_for()
    page.get_by_text("No errors").wait_for()
    for name in ("scenario", "severity", "seed", "rate_per_s", "time_scale"):
        assert name in page.locator(".CodeMirror").first.inner_text(), name
    page.mouse.move(900, 600)
    page.wait_for_timeout(1000)
    keep(page, "launchpad")
    page.get_by_text("Launch Run").click()
    new = until("the derived publication", lambda: [row for row in published.publications() if row not in before])
    until("its run to end", lambda: published.unsettled_runs() == 0)
    assert [row["scenario"].startswith("nominal_l2--") and row["verified"] for row in new] == [True]
    live.get_by_text(FIRST[0]).first.wait_for()
    assert not live.get_by_text("0 messages,").count()
    assert "nominal_l2" not in live.locator("body").inner_text(), "the data topics do not say what was done"
    live.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    keep(live, "live")


def test_the_report_page_tells_whether_a_program_is_good(published: DevSession, page: Any) -> None:
    _open(page, f"{published.report_url}/program/{PROGRAM}")
    shown = page.locator("body").inner_text()
    for asset in ("mast/observations", "raw/fits_files", "catalog/products", "perturbed/nominal_l2", "stream/clean"):
        assert asset in shown, asset
    assert page.get_by_text("Files refused: 0").count()
    keep(page, "report")


@pytest.fixture(scope="module")
def flawed(published: DevSession, sample: Path) -> str:
    """Drop two files of a new program into the archive, one to be warned of and one to be refused, and return it."""
    for number, spoil in (("00001", displaced), ("00002", ended_early)):
        made = flawed_copy(next(sample.rglob(FIRST[0])), FLAWED, number, spoil)
        part = published.archive / f"{made.name}.part"
        part.write_bytes(made.content)
        part.rename(published.archive / made.name)
    until("the new program to be published", lambda: {row["program"] for row in published.publications()} >= {FLAWED})
    until("its runs to end", lambda: published.unsettled_runs() == 0)
    return FLAWED


def test_a_failed_check_says_why_and_leads_to_its_report(published: DevSession, flawed: str, page: Any) -> None:
    _open(page, f"{published.url}/assets/catalog/products?view=checks&checkDetail=files_keep_sky")
    page.get_by_text("Latest execution").wait_for()
    page.get_by_text("Evaluation result").wait_for()
    shown = page.locator("body").inner_text()
    for said in ("Failed", "1 of 1 values break it", f"jw{flawed}", "footprint_wcs"):
        assert said in shown, said
    keep(page, "failed-check")
    target = page.locator(f"a[href^='{published.report_url}/reports/']").first.get_attribute("href")
    _open(page, target)
    report = page.locator("body").inner_text()
    for said in (f"program {flawed}", "! warning", "footprint_wcs", "All stages of program"):
        assert said in report, said
    keep(page, "failed-report")
    page.get_by_text(f"All stages of program {flawed}").click()
    page.get_by_text("Files refused: 1").wait_for()
    assert "before it starts" in page.locator("body").inner_text()


def test_a_perturbed_dataset_leads_back_to_the_archive(published: DevSession, page: Any) -> None:
    """In the graph of assets, and file by file."""
    _open(page, f"{published.url}/assets/perturbed/nominal_l2?view=lineage&lineageScope=upstream&lineageDepth=5")
    for name in ("observations", "fits_files", "nominal_l2"):
        page.get_by_text(name, exact=True).first.wait_for()
    until("the state of each asset", lambda: page.get_by_text("Loading").count() == 0)
    keep(page, "lineage")
    [delivered] = published.delivered(FIRST[0], "nominal_l2")
    page.set_viewport_size({"width": WIDTH, "height": TALL})
    _open(page, f"{published.report_url}/lineage/{delivered['out_sha256']}")
    shown = page.locator("body").inner_text()
    for step in ("perturbed/nominal_l2", "catalog/products", "raw/fits_files", "mast/products", "mast/observations"):
        assert step in shown, step
    keep(page, "lineage-file")


def test_the_page_over_all_programs_puts_the_worst_first(published: DevSession, flawed: str, page: Any) -> None:
    _open(page, published.report_url)
    rows = page.locator("table").last.locator("tbody tr")
    assert flawed in rows.first.inner_text()
    assert rows.count() >= 3
    keep(page, "programs")


def test_the_page_of_operations_says_what_is_left_and_how_fresh_it_is(published: DevSession, page: Any) -> None:
    page.set_viewport_size({"width": WIDTH, "height": TALL})
    _open(page, f"{published.report_url}/operations")
    shown = page.locator("body").inner_text()
    alerts = page.locator("table").first.locator("tbody tr")
    lines = {row.locator("td").nth(1).inner_text(): row.locator("td").nth(0).inner_text() for row in alerts.all()}
    for quiet in ("seconds since the archive was last asked", "daemons without a heartbeat", "publications not proved"):
        assert "quiet" in lines[quiet], (quiet, shown)
    backlog = page.locator("h2:has-text('Backlog') + div tbody tr")
    made = {row.locator("td").nth(0).inner_text(): int(row.locator("td").nth(1).inner_text()) for row in backlog.all()}
    assert made["stream/clean"] >= 1
    assert set(made) >= {"mast/observations", "catalog/products", "perturbed/nominal_l2", "report/data_quality"}
    for said in ("refresh_changed_sensor", "SENSOR", "raw_files", "p95"):
        assert said in shown, said
    # what is a number stands below the name of its column
    heads, cells = (page.locator(f"h2:has-text('Backlog') + div {cell}") for cell in ("th", "tbody tr:first-child td"))
    ends = [[box["x"] + box["width"] for box in (each.bounding_box() for each in row.all())] for row in (heads, cells)]
    assert ends[0] == ends[1]
    assert heads.nth(1).evaluate("cell => getComputedStyle(cell).textAlign") == "right"
    keep(page, "operations")


GOOD = "version: 1\ndescription: A quiet day.\nseed: 3\neffects:\n  - read_noise: {severity: 1}\n"


def _reload(dev: DevSession) -> None:
    for location in ("hwosim_assets", "hwosim_streaming"):
        entry = dev.graphql(
            """mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {
              __typename ... on WorkspaceLocationEntry { locationOrLoadError { __typename } } } }""",
            name=location,
        )["reloadRepositoryLocation"]
        assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry


def _staleness(dev: DevSession) -> dict[str, str]:
    """Return the staleness of the program's partition of each asset."""
    nodes = dev.graphql("{ assetNodes { assetKey { path } isPartitioned } }")["assetNodes"]
    asked = """query($program: String!, $keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) {
      assetKey { path } staleStatus(partition: $program) } }"""
    keys = [{"path": node["assetKey"]["path"]} for node in nodes if node["isPartitioned"]]
    found = dev.graphql(asked, program=PROGRAM, keys=keys)["assetNodes"]
    return {"/".join(node["assetKey"]["path"]): node["staleStatus"] for node in found}


def test_editing_one_scenario_makes_only_its_assets_stale_and_a_broken_one_hurts_nobody(
    published: DevSession, say: Callable[[str], None]
) -> None:
    folder = published.scenarios
    (folder / "quiet.yaml").write_text(GOOD)
    (folder / "windy.yaml").write_text(GOOD.replace("quiet", "windy"))
    (folder / "torn.yaml").write_text("effects: [read_noise: {")
    (folder / "solar.max.yaml").write_text(GOOD)
    _reload(published)
    new = _staleness(published)
    assert {name for name in new if name.split("/")[1] in ("quiet", "windy", "torn", "solar.max")} == {
        f"{group}/{name}" for group in ("perturbed", "truth", "stream") for name in ("quiet", "windy")
    }
    made = published.hwosim("run", "--program", PROGRAM, "--scenario", "quiet", "--scenario", "windy")
    assert made.returncode == 0, made.stdout + made.stderr
    before = _staleness(published)
    assert {before[name] for name in before if name.split("/")[1] in ("quiet", "windy")} == {"FRESH"}
    assert "STALE" not in before.values()  # the scenarios that nobody made are missing
    (folder / "quiet.yaml").write_text(GOOD.replace("severity: 1", "severity: 2"))
    _reload(published)
    after = _staleness(published)
    stale = {name for name in after if after[name] != before[name]}
    say(f"stale after the edit of one scenario: {sorted(stale)}")
    assert stale == {"perturbed/quiet", "truth/quiet"}
    assert {after[name] for name in stale} == {"STALE"}
