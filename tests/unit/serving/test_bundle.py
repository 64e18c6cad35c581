"""A bundle is opened only when every byte of it is what was signed."""

import os
from pathlib import Path

import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, canonical_json, digest_bytes
from lockgate.errors import ConfigError, IntegrityError
from lockgate.serving.model.bundle import UnknownBundle, open_bundle
from lockgate.serving.model.signature import load_public_key, signed_digests
from tests.bundles import contract, graph, make_bundle, make_keys, probes, sign

PARTS = (
    *("model.onnx", "MLmodel", "contract.json", "reference_profile.json", "probe_requests.json", "card.md"),
    *("evaluation.json", "provenance.json", "manifest.json", "signature"),
)


class Store:
    """A store with one bundle, fresh for each test."""

    def __init__(self, root: Path) -> None:
        self.keys, self.root = root / "keys", root / "bundles"
        _, public = make_keys(self.keys)
        self.public = load_public_key(public)
        self.digest = make_bundle(self.root, key_dir=self.keys)
        self.folder = self.root / self.digest

    def refusal(self, digest: Digest | None = None) -> str:
        with pytest.raises(IntegrityError) as refused:
            open_bundle(self.root, digest or self.digest, self.public)
        return refused.value.message


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_bundle_signed_by_the_real_library_is_opened(store: Store) -> None:
    bundle = open_bundle(store.root, store.digest, store.public)
    assert bundle.digest == store.digest
    assert bundle.contract == contract()
    assert bundle.probes == probes(0.0, TaskKind.BINARY)
    assert bundle.onnx == graph(0.0, TaskKind.BINARY)


@pytest.mark.parametrize("part", PARTS)
def test_one_flipped_byte_is_refused_by_the_name_of_its_part(store: Store, part: str) -> None:
    path = store.folder / part
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert store.refusal().startswith(f"part {part}")


def test_a_changed_part_is_named_with_both_digests(store: Store) -> None:
    path = store.folder / "model.onnx"
    before = digest_bytes(path.read_bytes())
    path.write_bytes(b"other")
    assert store.refusal() == f"part model.onnx: sha256 is {digest_bytes(b'other')}, manifest says {before}"


def test_no_single_flipped_byte_of_the_signature_passes(store: Store) -> None:
    signature = (store.folder / "signature").read_bytes()
    assert signed_digests(signature, store.public)
    for place in range(0, len(signature), 3):
        flipped = bytearray(signature)
        flipped[place] ^= 1
        with pytest.raises(IntegrityError, match="part signature"):
            signed_digests(bytes(flipped), store.public)


def test_a_part_added_to_the_empty_lock_is_refused(store: Store) -> None:
    (store.folder / "requirements.lock").write_bytes(b"x")
    assert "part requirements.lock: sha256 is" in store.refusal()


def test_a_missing_part_is_refused(store: Store) -> None:
    (store.folder / "card.md").unlink()
    assert "part card.md is missing" in store.refusal()


def test_a_missing_signature_is_refused(store: Store) -> None:
    (store.folder / "signature").unlink()
    assert store.refusal() == "part signature is missing"


def test_an_extra_file_is_refused(store: Store) -> None:
    (store.folder / "extra.so").write_bytes(b"")
    assert "part extra.so is not in the manifest" in store.refusal()


def test_an_extra_folder_is_refused(store: Store) -> None:
    (store.folder / ".git").mkdir()
    assert "part .git: not a plain file" in store.refusal()


def test_a_part_behind_a_link_is_refused_even_with_the_same_bytes(store: Store, tmp_path: Path) -> None:
    part = store.folder / "model.onnx"
    part.rename(tmp_path / "elsewhere")
    part.symlink_to(tmp_path / "elsewhere")
    assert "part model.onnx: not a plain file" in store.refusal()


def test_a_pipe_in_the_place_of_a_part_is_refused_and_does_not_hang(store: Store) -> None:
    (store.folder / "card.md").unlink()
    os.mkfifo(store.folder / "card.md")
    assert "part card.md: not a plain file" in store.refusal()


def test_what_mlflow_leaves_in_a_registered_folder_is_ignored(store: Store) -> None:
    (store.folder / "registered_model_meta").write_text("version: 1")
    assert open_bundle(store.root, store.digest, store.public).digest == store.digest


def test_another_signing_key_is_refused(store: Store, tmp_path: Path) -> None:
    make_keys(tmp_path / "other")
    sign(store.folder, tmp_path / "other")
    assert "part signature: made with key" in store.refusal()


def test_a_bundle_under_another_digest_is_refused(store: Store) -> None:
    other = Digest("ab" * 32)
    store.folder.rename(store.root / other)
    assert f"the bundle is named {other}" in store.refusal(other)


@pytest.mark.parametrize("digest", ["cd" * 32, "../keys", "", "AB" * 32])
def test_an_unknown_digest_or_a_path_is_no_bundle(store: Store, digest: str) -> None:
    with pytest.raises(UnknownBundle):
        open_bundle(store.root, Digest(digest), store.public)


@pytest.mark.parametrize(
    ("part", "data", "said"),
    [
        ("contract.json", b"{", "part contract.json:"),
        ("contract.json", b'{"schema_version": 2}', "part contract.json: Object missing required field"),
        ("contract.json", canonical_json(contract("other")), "manifest says 'toy'"),
        (
            "contract.json",
            canonical_json(contract()).replace(b'"threshold":0.5', b'"threshold":1.5'),
            "threshold is 1.5",
        ),
        (
            "contract.json",
            canonical_json(contract()).replace(b'["amount","age"]', b'["age"]'),
            "number columns ['age']",
        ),
        ("contract.json", canonical_json(contract()).replace(b'"no",', b""), "cannot have 1 classes"),
        ("probe_requests.json", b'{"absolute":1,"relative":1,"requests":[]}', "holds no probe"),
        ("probe_requests.json", b'{"absolute":1,"relative":1,"requests":[{"name":1}]}', "$.requests[0].name"),
    ],
)
def test_a_signed_but_senseless_part_is_refused_with_the_place(
    tmp_path: Path, part: str, data: bytes, said: str
) -> None:
    store = Store(tmp_path)
    odd = make_bundle(store.root, key_dir=store.keys, parts={part: data})
    assert said in store.refusal(odd)


def test_a_public_key_that_is_none_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    with pytest.raises(ConfigError, match="public key"):
        load_public_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="No such file"):
        load_public_key(tmp_path / "none")
