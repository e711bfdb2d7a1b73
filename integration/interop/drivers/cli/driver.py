"""Opens and seals messages with the AWS Encryption SDK's command line tool.

One JSON request a line on standard input, one JSON answer a line on standard
output; see ../doc.go. Every request is a run of the tool, which cannot live on.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SUITES = {
    "0478": "AES_256_GCM_HKDF_SHA512_COMMIT_KEY",
    "0578": "AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384",
}
HERE = pathlib.Path(__file__).resolve().parent
TOOL = pathlib.Path(sys.executable).parent / "aws-encryption-cli"


def wrapping_keys(spec, environ):
    kind = spec["type"]
    if kind == "raw-aes":
        secret = base64.urlsafe_b64encode(base64.b64decode(spec["key"])).decode()
        return [
            "--wrapping-keys",
            "provider=sealq-raw-key",
            "namespace=" + spec["namespace"],
            "key=" + spec["name"],
            "secret=" + secret,
        ]
    if kind == "kms":
        environ["AWS_ENDPOINT_URL"] = spec["endpoint"]
        return ["--wrapping-keys", "key=" + spec["key"], "region=" + spec["region"]]
    if kind == "multi":
        keys = wrapping_keys(spec["generator"], environ)
        for child in spec["children"]:
            keys += wrapping_keys(child, environ)
        return keys
    raise ValueError(f"unknown keyring type {kind!r}")


def run(arguments, environ, data):
    with tempfile.TemporaryDirectory() as directory:
        metadata = pathlib.Path(directory, "metadata")
        done = subprocess.run(
            [TOOL, *arguments, "--input", "-", "--output", "-", "--metadata-output", metadata],
            input=data,
            capture_output=True,
            env=environ,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace").strip())
        return done.stdout, json.loads(metadata.read_text().splitlines()[-1])


def answer(request):
    environ = dict(os.environ, PYTHONPATH=str(HERE / "plugin"))
    keys = wrapping_keys(request["keyring"], environ)
    if request["op"] == "encrypt":
        arguments = ["--encrypt", *keys, "--algorithm", SUITES[request["suite"]]]
        if request.get("frame"):
            arguments += ["--frame-length", str(request["frame"])]
        if request["context"]:
            pairs = [f"{k}={v}" for k, v in request["context"].items()]
            arguments += ["--encryption-context", *pairs]
        message, _ = run(arguments, environ, base64.b64decode(request["plaintext"]))
        return {"ok": True, "message": base64.b64encode(message).decode()}
    if request["op"] == "decrypt":
        # --buffer: nothing is written before the whole message is verified.
        plaintext, metadata = run(
            ["--decrypt", "--buffer", *keys], environ, base64.b64decode(request["message"])
        )
        return {
            "ok": True,
            "plaintext": base64.b64encode(plaintext).decode(),
            "context": metadata["header"]["encryption_context"],
        }
    raise ValueError(f"unknown operation {request['op']!r}")


def main():
    for line in sys.stdin.buffer:
        try:
            result = answer(json.loads(line))
        except Exception as e:  # every refusal of the tool is an answer
            result = {"ok": False, "class": type(e).__name__, "error": str(e)}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
