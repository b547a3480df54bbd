"""`model-trainer run generate|score|chat|predict`: questions to trained models."""

from typing import Annotated

import typer

from model_trainer.cli.registration import Decision, Group, RunIdArgument, Seed, SetFields
from model_trainer.cli.session import session_of

MaxNewTokens = Annotated[
    int | None, typer.Option("--max-new-tokens", metavar="N", help="At most so many tokens, 1 to 512.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="0 takes the likeliest token each time.")
]
TopP = Annotated[float | None, typer.Option("--top-p", help="Only the likeliest that make up this share.")]
Stop = Annotated[list[str] | None, typer.Option("--stop", metavar="TEXT", help="End before it. Repeatable.")]
DataPath = Annotated[
    str | None, typer.Option("--path", metavar="PATH", help="A text file under the data root.")
]


def register(runs: Group) -> None:
    """Adds the commands to the group."""
    runs.command("generate")(generate)
    runs.command("score")(score)
    runs.command("chat")(chat)
    runs.command("predict")(predict)


def generate(
    ctx: typer.Context,
    run_id: RunIdArgument,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="What to go on from.")
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", metavar="FILE", help="A file here; - for standard input.")
    ] = None,
    path: DataPath = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Only so many of the likeliest; 0 for all.")
    ] = None,
    top_p: TopP = None,
    stop: Stop = None,
    num_sequences: Annotated[
        int | None, typer.Option("--num-sequences", metavar="N", help="So many texts, 1 to 10.")
    ] = None,
    seed: Seed = None,
    set_fields: SetFields = None,
) -> None:
    """Have a language model go on from a prompt."""
    from model_trainer.cli.asking import generate as ask
    from model_trainer.cli.asking import given_text
    from model_trainer.cli.spec_file import build_spec

    options = {
        "prompt_text": given_text(prompt, prompt_file, options="--prompt and --prompt-file"),
        "prompt_path": path,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "num_return_sequences": num_sequences,
        "seed": seed,
    }
    spec = build_spec(None, options=options, labels=(), settings=set_fields or ())
    if stop:
        spec["stop_sequences"] = [*stop]
    ask(session_of(ctx), run_id, spec)


def score(
    ctx: typer.Context,
    run_id: RunIdArgument,
    text: Annotated[str | None, typer.Option("--text", help="The text as it is.")] = None,
    file: Annotated[
        str | None, typer.Option("--text-file", metavar="FILE", help="A file here; - for standard input.")
    ] = None,
    path: DataPath = None,
    per_char: Annotated[
        bool, typer.Option("--per-char", help="Every token with its surprisal and its characters.")
    ] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="With --per-char and --json: the model's best guesses.")
    ] = None,
) -> None:
    """Measure how well a language model knows a text: loss, perplexity, bits per byte."""
    from model_trainer.cli.asking import given_text
    from model_trainer.cli.asking import score as ask
    from model_trainer.cli.spec_file import build_spec

    options = {
        "text": given_text(text, file, options="--text and --text-file"),
        "path": path,
        "detail_level": "per_char" if per_char else None,
        "top_k": top_k,
    }
    ask(session_of(ctx), run_id, build_spec(None, options=options, labels=(), settings=()))


def chat(
    ctx: typer.Context,
    run_id: RunIdArgument,
    message: Annotated[
        str | None, typer.Option("--message", metavar="TEXT", help="Say this; left out: say line by line.")
    ] = None,
    conversation: Annotated[
        str | None, typer.Option("--conversation", metavar="ID", help="Go on with an earlier conversation.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="What the model is told before all else.")
    ] = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    set_fields: SetFields = None,
) -> None:
    """Talk with a language model. Ctrl-D ends."""
    from model_trainer.cli.asking import chat as ask
    from model_trainer.cli.spec_file import build_spec

    options = {
        "conversation_id": conversation,
        "system": system,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    spec = build_spec(None, options=options, labels=(), settings=set_fields or ())
    ask(session_of(ctx), run_id, spec, message=message)


def predict(
    ctx: typer.Context,
    run_id: RunIdArgument,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Each is one text, in UTF-8; - reads standard input."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="A text as it is. Repeatable.")] = None,
    decision: Decision = None,
) -> None:
    """Judge texts with a trained detector. What it says is not evidence against a person."""
    from model_trainer.cli.asking import predict as ask

    ask(session_of(ctx), run_id, texts=text or (), files=files or (), decision=decision)
