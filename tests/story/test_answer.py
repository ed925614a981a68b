"""The closing sentences, where no refusal was for want of alice's key."""

import asyncio
from pathlib import Path

import pytest

from lab.catalogue.plan import full_matrix
from lab.staging import embedded
from lab.story.acts import answer


@pytest.mark.parametrize(
    ("gateways", "moves", "leak", "says"),
    [
        (("mtls@openssl",), ("look-alike", "no-certificate"), "wire", "no refusal was for want of her key."),
        (("names-only@instrument",), ("omit-proof",), "wire", "no gateway that checks whose proof it is was tried."),
        (
            ("mtls@openssl",),
            ("look-alike",),
            "archive",
            "no refusal was for want of her key. Alice's key is what must not get out: where it did, it opened "
            "mtls@openssl.",
        ),
    ],
    ids=["refused for the certificate", "a proof, and nobody asks whose", "with the key"],
)
def test_it_says_what_was_not_measured(
    gateways: tuple[str, ...], moves: tuple[str, ...], leak: str, says: str, tmp_path: Path
) -> None:
    plan = full_matrix(gateways=(*gateways, "certificate-only@instrument"), moves=moves, leaks=(leak,))
    judgement = asyncio.run(embedded.run_embedded(tmp_path, plan, None, lambda run: None))
    assert says in answer(judgement)
