"""The command `cnn-jax export`."""

from pathlib import Path

import click

from cnn_jax.classifier_options import chosen_classifier, classifier_options, divided_arguments
from cnn_jax.errors import InputError


@click.command("export")
@click.argument("arguments", nargs=-1, metavar="MODEL_OR_RUN OUT")
@classifier_options
@click.option(
    "--platforms",
    default="cpu,cuda,tpu",
    help="Where it is to run, with commas between: cpu, cuda, rocm, tpu.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT where it is there already.")
def export(arguments: tuple[str, ...], platforms: str, overwrite: bool, **given) -> None:
    """Write a classifier to a file that JAX runs without this package.

    MODEL_OR_RUN is a run directory, or a model whose weights an installed package brings. OUT is a
    zip archive: program.bin, which takes uint8 images [N, H, W, C] and gives logits, the weights
    within; and classifier.json, which says how photographs are prepared and what the classes are.

    \b
    cnn-jax export runs/digits-simple_cnn digits.zip
    cnn-jax export efficientnet_lite0 lite0.zip --platforms cpu
    cnn-jax export --weights resnet50.safetensors --model resnet50 resnet50.zip
    """
    source, others = divided_arguments(arguments, given)
    if len(others) != 1:
        before = "the options" if source is None else "MODEL_OR_RUN"
        raise InputError(f"`out` (={' '.join(others)}) must be one file: name it after {before}")

    from cnn_jax.export import check_export, export_classifier

    named = dict.fromkeys(filter(None, map(str.strip, platforms.split(","))))
    options = {"platforms": tuple(named), "overwrite": overwrite}
    check_export(others[0], **options)
    classifier = chosen_classifier(source, given)
    origin = given["weights"] if source is None else source
    written = export_classifier(classifier, Path(others[0]), origin=str(origin), **options)
    if written.difference is None:
        tried = "not tried out, since it is for other machines than this"
    else:
        tried = f"logits differ from the network's by at most {written.difference:.2g}"
    click.echo(
        f"written: {written.path}, {written.size / 1e6:,.1f} MB for {', '.join(named)}; {tried}"
    )
