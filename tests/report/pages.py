"""A page with all that a page can have, and with HTML in all that data says."""

from jaxlt.metrics.claims import judge
from jaxlt.metrics.effects import difference
from jaxlt.report.figures import Figure
from jaxlt.report.page import Claimed, Sample, Section
from jaxlt.report.sections import section_of
from jaxlt.report.selection import scores, select
from tests.report.rows import arms, sweep

EVIL = (
    "<script>document.title='evil'</script><img src=http://evil.example/x.png onerror=evil()>\"'&"
)


def sections(evil: str = "") -> list[Section]:
    """Two studies; `evil` is appended to every text of the first."""
    rows = arms({f"target{evil}": 0.6, "source": 0.7, "shuffled": 0.4})

    def arm(name: str) -> dict:
        return dict(scores(select(rows, "accuracy", methods=(name,))))

    seeds = range(5)
    fails = judge(difference(arm(f"target{evil}"), arm("source"), seeds), "better")
    holds = judge(difference(arm("source"), arm("shuffled"), seeds), "better")
    open_ = judge(difference(arm("source"), arm("shuffled"), range(7)), "better")
    claims = (
        Claimed(
            f"Target above source{evil}", fails, f"@target{evil}", "low > 0", (5, 5), f"+5{evil}"
        ),
        Claimed("Source above shuffled", holds, "@source - @shuffled", "low > 0.1", (5, 5)),
        Claimed(
            "More seeds", open_, "@source - @shuffled", "low > 0", (5, 7), note=f"changed{evil}"
        ),
    )
    first = section_of(
        f"mad_x{evil}",
        rows,
        [Figure("dots", title=f"Arms{evil}", text=f"Read it so{evil}", name=f"arms{evil}")],
        title=f"MAD-X{evil}",
        question=f"Which module?{evil}",
        notes=(f"2 stale rows{evil}",),
        claims=claims,
        how_to_run=f"jaxlt experiment mad_x.gin{evil}",
        samples=(
            Sample(
                f"glv{evil}", f"one two{evil}", f"ein zwei{evil}", ((f"who{evil}", f"X{evil}"),)
            ),
        ),
        links=((f"run{evil}", f"../run{evil}"),),
    )
    return [first, section_of("curse", sweep(), title="The curse")]
