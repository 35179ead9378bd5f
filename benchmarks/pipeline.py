"""The data pipeline: jaxlt's cache beside plain seqio, and beside what `tiny` consumes.

    python benchmarks/pipeline.py [--rounds 5] [--languages 20] [--words 60000]

A span-corruption mixture over 20 languages, 512 input tokens of bytes, batches of 32. Sides, one
core each, taking turns:

- jaxlt: rows of open_mixture, from its token cache;
- seqio: the same files and rates as TextLine tasks with seqio's and T5's usual preprocessors
  (tokenise, join, split, span corruption), from the text;
- the training step of `tiny`, fed by jaxlt: how many tokens it takes, and how long it waits.

`--opening 100` instead times the opening of tables of 100 languages, of text and of a task, without
caches and with them (goal: under a second with them).

Prints the ratios of medians: jaxlt to seqio (goal 1.5), jaxlt to the step (goal 5), and the share
of the step that is spent waiting for data (goal: under 2%).
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np
import sides

LENGTH, BATCH, MEAN_SPAN = 512, 32, 20.0


def write_corpus(folder: Path, languages: int, words: int) -> None:
    """Writes made-up text by language, some much smaller than others."""
    for number in range(languages):
        rng = np.random.default_rng(number)
        letters = list("abcdefghijklmnopqrstuvwxyz")
        lexicon = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(3000)]
        count = words // (1 + number % 5)
        text = rng.choice(lexicon, count)
        lines = [" ".join(text[i : i + 20]) for i in range(0, count, 20)]
        (folder / f"l{number:02}_Latn.txt").write_text("\n".join(lines) + "\n")


def config(folder: Path):
    """The mixture that both sides read."""
    from jaxlt.data.config import DataConfig

    return DataConfig(
        sources=str(folder / "text"),
        inputs_length=LENGTH,
        batch_size=BATCH,
        mean_span=MEAN_SPAN,
        held_out=0.0,
        cache_dir=str(folder / "cache"),
    )


def jaxlt_side(folder: Path) -> None:
    """Rows, a batch a step."""
    from jaxlt.data.mixtures import open_mixture

    mixture, place = open_mixture(config(folder)), iter(range(1 << 30))
    serve(lambda: mixture.rows(next(place), 0, BATCH))


def serve(batch) -> None:
    """Serves rounds of 20 batches; tells how many input tokens a batch has."""
    tokens = int(np.count_nonzero(batch()["encoder_input_tokens"]))
    sides.serve(batch, {"tokens": tokens}, rounds=20)


def seqio_side(folder: Path) -> None:
    """The same mixture as a seqio user writes it, with default preprocessors."""
    import functools

    import seqio
    import tensorflow as tf

    from jaxlt.data.mixtures import open_mixture

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    feature = seqio.Feature(seqio.ByteVocabulary(), add_eos=True)
    tasks = []
    for info in open_mixture(config(folder)).info():
        seqio.TaskRegistry.add(
            info.name,
            source=seqio.TextLineDataSource({"train": str(folder / "text" / f"{info.name}.txt")}),
            preprocessors=[
                seqio.map_over_dataset(lambda line: {"targets": line + "\n"}),
                functools.partial(seqio.preprocessors.tokenize, copy_pretokenized=False),
                span_corruption,
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features={"inputs": feature, "targets": feature},
        )
        tasks.append((info.name, info.rate))
    seqio.MixtureRegistry.add("plain", tasks)
    lengths = {"inputs": LENGTH, "targets": 200}
    dataset = seqio.get_dataset(
        "plain",
        lengths,
        seqio.EncDecFeatureConverter(pack=False),
        dataset_split="train",
        shuffle=True,
        seed=0,
        num_epochs=None,
    )
    rows = dataset.batch(BATCH).prefetch(2).as_numpy_iterator()
    serve(lambda: next(rows))


def span_corruption(dataset, sequence_length):
    """T5's span corruption as its own preprocessors write it: join, split, mask, sentinels."""
    import seqio
    import tensorflow as tf

    from jaxlt.data.objectives.objectives import raw_length, span_counts

    window = raw_length(sequence_length["inputs"], 0.15, MEAN_SPAN)[0]
    noise, spans = span_counts(window, 0.15, MEAN_SPAN)
    pieces = (
        dataset.map(lambda e: e["targets"], num_parallel_calls=1)
        .ragged_batch(128)
        .flat_map(lambda r: tf.data.Dataset.from_tensor_slices(r.flat_values))
        .batch(window, drop_remainder=True)
    )

    def segments(items, seed):
        marks = tf.random.experimental.stateless_shuffle(
            tf.cast(tf.range(items - 1) < spans - 1, tf.int32), seed
        )
        ids = tf.cumsum(tf.pad(marks, [[1, 0]]))
        return tf.math.segment_sum(tf.ones_like(ids), ids)

    def replaced(tokens, mask):
        first = mask & ~tf.pad(mask[:-1], [[1, 0]])
        sentinels = 259 - tf.cumsum(tf.cast(first, tokens.dtype))
        return tf.boolean_mask(tf.where(first, sentinels, tokens), ~mask | first)

    @seqio.map_over_dataset(num_seeds=2)
    def corrupt(tokens, seeds):
        both = tf.stack([segments(window - noise, seeds[0]), segments(noise, seeds[1])], 1)
        starts = tf.cumsum(tf.reshape(both, [-1]))[:-1]
        turns = tf.math.unsorted_segment_sum(tf.ones_like(starts), starts, window)
        mask = tf.cumsum(turns) % 2 == 1
        return {"inputs": replaced(tokens, mask), "targets": replaced(tokens, ~mask)}

    return corrupt(pieces)


def train_side(folder: Path) -> None:
    """Steps of `tiny` through the engine's own feed."""
    import jax
    import jax.numpy as jnp

    from jaxlt.config import load
    from jaxlt.data.mixtures import open_mixture
    from jaxlt.engine.feed import Feed
    from jaxlt.engine.loop import program_of
    from jaxlt.engine.state import make_state
    from jaxlt.engine.step import Hyper

    run = load(["models/tiny.gin", "runs/pretrain.gin"], ["TEXT=x", "WORKDIR=x", "DTYPE=float32"])
    program = program_of(run)
    state = make_state(program.layout, program.optimizer, 0)
    feed = Feed(open_mixture(config(folder)), program.spec.mesh, 0, 1 << 30)
    batches, hyper = iter(feed), Hyper(jnp.float32(1e-3), jnp.uint32(0))

    def step():
        nonlocal state
        _, batch, _ = next(batches)
        state, metrics = program.train(state, batch, hyper)
        jax.block_until_ready(metrics)

    step()
    step()
    print(f'ready {{"tokens": {BATCH * LENGTH}}}', flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        waited, began = feed.waited_s, time.perf_counter()
        step()
        wall = time.perf_counter() - began
        print(f'done {{"wall_s": {wall}, "waited_s": {feed.waited_s - waited}}}', flush=True)
    feed.close()


def opening(languages: int, rows: int = 300) -> None:
    """Prints how long tables of many languages take to open, first and again."""
    from jaxlt.data.config import DataConfig
    from jaxlt.data.languages.codes import common_codes
    from jaxlt.data.mixtures import open_evaluation, open_mixture
    from jaxlt.data.task_config import TaskConfig

    codes = sorted({c for c in common_codes() if len(c) == 8 and c.endswith("_Latn")})[:languages]
    lines = [(code, i, f"text {i} of many words, in {code}") for i in range(rows) for code in codes]
    with tempfile.TemporaryDirectory(prefix="jaxlt-opening-") as name:
        folder = Path(name)
        text = "".join(f'{{"language": "{c}", "text": "{said}"}}\n' for c, _, said in lines)
        (folder / "corpus.jsonl").write_text(text)
        table = "".join(f"{c}\t{i}\tc{i % 3}\t{said}\n" for c, i, said in lines)
        (folder / "topics.tsv").write_text("lang\tid\tcategory\ttext\n" + table)
        common = {"inputs_length": 64, "held_out": 0.05, "cache_dir": str(folder / "cache")}
        task = TaskConfig("topics", str(folder / "topics.tsv"))
        configs = {
            "text": DataConfig(sources=str(folder / "corpus.jsonl"), **common),
            "task": DataConfig(tasks=task, objective="text_to_text", **common),
        }
        for which in ("without caches", "with caches"):
            for label, config in configs.items():
                start = time.perf_counter()
                open_mixture(config).rows(0, 0, 8)
                open_evaluation(config).rows(0, 0, 8)
                taken = time.perf_counter() - start
                print(f"{label} of {languages} languages, {which}: {taken:.2f} s")


SIDES = {"jaxlt": jaxlt_side, "seqio": seqio_side, "train": train_side}


def main() -> None:
    """Starts the sides, lets them take turns, prints the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--languages", type=int, default=20)
    parser.add_argument("--words", type=int, default=60_000, help="of the largest language")
    parser.add_argument("--opening", type=int, metavar="LANGUAGES", help="time this instead")
    parser.add_argument("--side", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        SIDES[args.side[0]](Path(args.side[1]))
        return
    if args.opening:
        opening(args.opening)
        return
    with tempfile.TemporaryDirectory(prefix="jaxlt-pipeline-") as name:
        folder = Path(name)
        (folder / "text").mkdir()
        write_corpus(folder / "text", args.languages, args.words)
        from jaxlt.data.mixtures import open_mixture

        open_mixture(config(folder))  # the cache is there before anybody is timed
        commands = {n: [__file__, "--side", n, name] for n in SIDES}
        ended = sides.take_turns(commands, args.rounds, 1)
    speed = {n: side.ready["tokens"] / side.median("wall_s") for n, side in ended.items()}
    waits = [t["waited_s"] / t["wall_s"] for t in ended["train"].turns]
    for label, value in speed.items():
        print(f"{label:6} {value:14,.0f} input tokens/s on one core")
    print(f"jaxlt to plain seqio:      {speed['jaxlt'] / speed['seqio']:8.2f} (goal 1.5)")
    print(f"jaxlt to the step of tiny: {speed['jaxlt'] / speed['train']:8.1f} (goal 5)")
    print(f"waiting for data:          {statistics.median(waits):8.2%} of a step (goal < 2%)")


if __name__ == "__main__":
    main()
