"""Real KMS ciphertexts: AES-256-GCM with the key id and the encryption context as associated data.

ministack encrypts with an unauthenticated stream, so that a tampered blob, a wrong context or another key's id
would "decrypt" to garbage instead of being refused.

Layout: key id (36 bytes, where ministack's policy check looks for it) + version + nonce (12) + ciphertext and tag.
"""
import base64
import json
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from ministack.services import kms

VERSION = b"\x02"
KEY_ID, NONCE = slice(0, 36), slice(37, 49)
LONGEST_PLAINTEXT = 4096


def install() -> None:
    """Replaces Encrypt, Decrypt and the ciphertexts of GenerateDataKey for symmetric keys."""
    encrypt, decrypt, data_key = kms._encrypt, kms._decrypt, kms._generate_data_key_common

    def sealing_encrypt(body):
        record = kms._resolve_key(body.get("KeyId", ""))
        if not _symmetric(record):
            return encrypt(body)
        plaintext = base64.b64decode(body.get("Plaintext", ""))
        if not 1 <= len(plaintext) <= LONGEST_PLAINTEXT:
            return kms.error_response_json("ValidationException", "'plaintext' must have 1 to 4096 bytes", 400)
        return kms._check_key_state(record) or _answer(
            record, "CiphertextBlob", seal(record, plaintext, body.get("EncryptionContext")))

    def opening_decrypt(body):
        named = kms._resolve_key(body["KeyId"]) if body.get("KeyId") else None
        if named and not _symmetric(named):
            return decrypt(body)
        if body.get("KeyId") and not named:
            return kms.error_response_json("NotFoundException", f"Key {body['KeyId']} not found", 400)
        blob = base64.b64decode(body.get("CiphertextBlob", ""))
        record = kms._resolve_key(blob[KEY_ID].decode("ascii", "replace"))
        if not _symmetric(record):
            return _invalid_ciphertext()
        if named and named["KeyId"] != record["KeyId"]:
            return kms.error_response_json(
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this operation.", 400)
        refused = kms._check_key_state(record)
        if refused:
            return refused
        try:
            return _answer(record, "Plaintext", unseal(record, blob, body.get("EncryptionContext")))
        except InvalidTag:
            return _invalid_ciphertext()

    def sealing_data_key(body, action="GenerateDataKey"):
        record, plaintext, result = data_key(body, action)
        if record is None:
            return record, plaintext, result
        return record, plaintext, seal(record, plaintext, body.get("EncryptionContext"))

    kms._encrypt, kms._decrypt, kms._generate_data_key_common = sealing_encrypt, opening_decrypt, sealing_data_key


def seal(record: dict, plaintext: bytes, context: dict | None) -> bytes:
    """The ciphertext of `plaintext` under the key `record` and `context`."""
    nonce = os.urandom(12)
    sealed = AESGCM(record["_symmetric_key"]).encrypt(nonce, plaintext, _associated_data(record, context))
    return record["KeyId"].encode() + VERSION + nonce + sealed


def unseal(record: dict, blob: bytes, context: dict | None) -> bytes:
    """The plaintext; raises `InvalidTag` where blob, key or context differ from what was sealed."""
    if blob[36:37] != VERSION or len(blob) < 65:
        raise InvalidTag
    return AESGCM(record["_symmetric_key"]).decrypt(blob[NONCE], blob[49:], _associated_data(record, context))


def _associated_data(record: dict, context: dict | None) -> bytes:
    return json.dumps([record["KeyId"], context or {}], sort_keys=True).encode()


def _symmetric(record: dict | None) -> bool:
    return record is not None and "_symmetric_key" in record


def _answer(record: dict, field: str, value: bytes) -> tuple:
    return kms.json_response({"KeyId": record["Arn"], field: base64.b64encode(value).decode(),
                              "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})


def _invalid_ciphertext() -> tuple:
    return kms.error_response_json("InvalidCiphertextException", "", 400)
