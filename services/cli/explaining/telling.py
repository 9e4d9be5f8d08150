"""Explanations for people: what was found, part by part, and on the last line what to do.

What comes from certificates, and from the other end of a connection, never reaches a terminal unescaped.
"""

from __future__ import annotations

from typing import Any

import click

from services.cli import output
from services.cli.output import Json

Row = tuple[str, object]

_FITS = {
    "MATCH": "matches",
    "NAME_ONLY": "its name matches, its key does not",
    "KEY_ONLY": "its key matches, its name does not",
    "SWAPPED": "its hashes match, in each other's place",
    "KEY_WITH_ALGORITHM": "matches, if its key is hashed with the algorithm, which is wrong",
    "OTHER_HASH_ALGORITHM": "matches under a hash that is not the one named, or not supported",
    "SERIAL_NUMBER_ONLY": "has a certificate with this serial number",
}
_MOST = 20


def tell_status(told: Json) -> None:
    """Print why an answer of ours is what it is."""
    output.details([("Asked about", told["origin"]), ("In short", told["summary"])])
    _services(told["services"], told["summary"])
    _gateway(told["gateway"])
    if told["disagreement"]:
        click.echo()
        click.echo(output.plain(told["disagreement"]))
    what_to_do(told["advice"])


def what_to_do(advice: str) -> None:
    """Print the last line."""
    click.echo()
    click.echo(output.plain(f"What to do: {' '.join(advice.split())}"))


def _heading(text: str) -> None:
    click.echo()
    click.echo(output.plain(text))


def _services(part: Json, summary: str) -> None:
    if part["error"]:
        _heading("Status service: refused" if part["reached"] else "Status service: NOT REACHED, this part is missing")
        output.details([("Because", part["error"])])
    for each in part["explanations"][:_MOST]:
        _heading(f"Status service, as of revision {part['as_of_revision']} ({part['as_of_time']})")
        output.details(row for row in _service_rows(each) if row != ("Why", summary))
    _left_out(part)


def _service_rows(each: Json) -> list[Row]:
    record, issuer, certificate = each["record"], each["issuer"], each["certificate"]
    revoked, by_serial = record["revocation"] or {}, each["record_by_serial_number"]
    rows: list[Row] = [
        ("Status", record["status"]),
        ("Why", each["summary"]),
        ("Serial number", record["serial_number"]),
        ("OCSP clients are told", by_serial["status"] if by_serial else None),
        ("Revoked", revoked.get("revocation_time")),
        ("Reason", revoked.get("reason")),
        ("Invalid since", revoked.get("invalidity_time")),
        ("Revision", record["revision"] or None),
        ("Issuer", f"{issuer['name']} ({issuer['state']})" if issuer else None),
    ]
    if issuer and issuer["compromise"]:
        compromise = issuer["compromise"]
        rows.append(("Issuer compromised", f"{compromise['revocation_time']} ({compromise['reason']})"))
    rows += [("Issuer matched" if each["fit"] == "MATCH" else "Nearly", _fit(each)) for each in each["candidates"][:10]]
    if certificate:
        rows += [
            ("Subject", certificate["subject"]),
            ("Profile", certificate["profile"]),
            ("Not after", certificate["not_after_time"]),
            _origin(certificate),
        ]
    rows += [("Changed", _change(change)) for change in each["changes"][-_MOST:]]
    return rows


def _origin(certificate: Json) -> Row:
    who = _who(certificate["issued_by"])
    if certificate["profile"] == "imported":
        return "Imported", f"by {who}"
    return "Issued", f"{certificate['issue_time']} by {who}"


def _fit(candidate: Json) -> str:
    under = f" (by {candidate['hash_algorithm']} of name and key)" if candidate["hash_algorithm"] else ""
    return f"{candidate['issuer']}: {_FITS.get(candidate['fit'], candidate['fit'])}{under}"


def _change(change: Json) -> str:
    reason = f" ({change['revocation']['reason']})" if change["revocation"] else ""
    who = _who(change["changed_by"])
    return f"{change['change_time']} {change['action']}{reason}, revision {change['revision']}, by {who}"


def _who(actor: Json | None) -> str:
    return str(actor["identity"] or actor["peer"] or "nobody known") if actor else "nobody known"


def _gateway(part: Json) -> None:
    if part["error"]:
        words = {True: "refused", False: "NOT REACHED, this part is missing", None: "not asked, this part is missing"}
        _heading(f"Gateway: {words[part['reached']]}")
        output.details([("Because", part["error"])])
    for each in part["explanations"][:_MOST]:
        worker = f", worker {each['worker']}" if each.get("worker") else ""
        _heading(f"Gateway at {part['address']}{worker}")
        output.details(_gateway_rows(each))
    _left_out(part)


def _gateway_rows(each: Json) -> list[Row]:
    answer, signer, policy, watch = each["answer"], each["signer"], each["policy"], each["watch"]
    refusal, request = each["refusal"], each["request"]
    rows: list[Row] = [
        ("Answer", answer["status"]),
        ("Why", each["summary"]),
        ("Refused because", f"{refusal['why']} {refusal['detail']}".strip() if refusal else None),
    ]
    if request:
        rows += [("CertID", _cert_id(cert_id)) for cert_id in request["cert_ids"][:_MOST]]
        rows.append(("Nonce", request["nonce"] or "none"))
        rows.append(("Request signed", "yes" if request["signed"] else "no"))
    for certificate in each["certificates"][:_MOST]:
        rows.append(("Status", f"{certificate['status']}, {_source(certificate)}"))
    for single in answer["certificates"][:_MOST]:
        rows.append(("Valid", f"{single['this_update']} (thisUpdate) to {single['next_update']} (nextUpdate)"))
    rows.append(("HTTP caches", answer["headers"].get("cache-control")))
    if signer:
        name = f"{signer['subject']}, {signer['kind']}, serial number {signer['serial_number']}"
        rows += [("Signer", name), ("Signer ends", signer["not_after_time"])]
    age = watch["proof_age_seconds"]
    proof = "no proof yet" if age is None else f"last proof {age} s ago"
    rows += [
        ("Watch", f"revision {watch['revision']}, {proof}; trusted for {watch['max_staleness_seconds']} s"),
        (
            "Policy",
            f"nonce {policy['nonce']}, never issued {policy['never_issued']}, signed requests "
            f"{policy['signed_requests']}, validity {policy['validity_seconds']} s",
        ),
    ]
    return rows


def _cert_id(cert_id: Json) -> str:
    algorithm, serial = cert_id["hash_algorithm"] or "an unsupported hash", cert_id["serial_number"] or "impossible"
    if cert_id["issuer"]:
        return f"serial number {serial}, issuer {cert_id['issuer']} by {algorithm} of name and key"
    near = "; ".join(f"{each['issuer']} nearly: {each['fit']}" for each in cert_id["near_misses"][:3])
    return f"serial number {serial}, no issuer by {algorithm}" + (f" ({near})" if near else "")


def _source(certificate: Json) -> str:
    if certificate["source"] == "cache":
        return f"from the cache, evidence {certificate['evidence_age_seconds']} s old"
    if certificate["source"] == "look-up":
        return f"looked up for this, at revision {certificate['read_at_revision']}"
    return "without a look-up"


def _left_out(part: Json) -> None:
    more = len(part["explanations"]) - _MOST
    if more > 0:
        output.details([("Left out", f"{more} more; --json tells all")])


def tell_answer(told: Json) -> None:
    """Print what an OCSP response says, and whether it is to be believed."""
    status = told["response_status"]
    rows: list[Row] = [("Answer", told["origin"]), ("In short", told["summary"])]
    rows.append(("Response status", f"{status['name']} ({status['number']}): {status['meaning']}"))
    rows += [("Against the rules", text) for text in told["deviations"]]
    if http := told.get("http"):
        rows.append(("HTTP", f"status {http['status']}, {http['content_type'] or 'no content type'}"))
        rows.append(("HTTP caches", http["cache_control"] or None))
    if "verification" in told:
        _answer(rows, told)
    else:
        output.details(rows)
    what_to_do(told["advice"])


def _answer(rows: list[Row], told: Json) -> None:
    responder = told["responder"]
    rows += [
        ("Responder", f"named by {responder['by']}: {responder['value']}"),
        ("Signed with", told["signature_algorithm"]),
        ("Produced", told["produced_at"]),
    ]
    rows += [("Enclosed", _enclosed(each)) for each in told["enclosed_certificates"]]
    rows += [("Extension", _extension(each)) for each in told["extensions"]]
    output.details(rows)
    for single in told["certificates"][:_MOST]:
        _heading(f"Serial number {single['serial_number']}")
        output.details(_single_rows(single))
    more = len(told["certificates"]) + told["certificates_left_out"] - _MOST
    if more > 0:
        output.details([("Left out", f"{more} more")])
    _heading(f"Verification: {told['verification']['outcome']}")
    output.details((check["name"], f"{check['outcome']}: {check['text']}") for check in told["verification"]["checks"])


def _single_rows(single: Json) -> list[Row]:
    reason = f"{single['reason']}: {single['reason_meaning']}" if single["reason"] else None
    return [
        ("Status", f"{single['status']}: {single['meaning']}"),
        ("Revoked", single["revocation_time"]),
        ("Reason", reason),
        ("This update", f"{single['this_update']} (the status was known to be right then)"),
        (
            "Next update",
            f"{single['next_update']} (until then there will be a newer answer)" if single["next_update"] else "absent",
        ),
        ("Issuer's name", f"{single['issuer_name_hash']} ({single['hash_algorithm']})"),
        ("Issuer's key", f"{single['issuer_key_hash']} ({single['hash_algorithm']})"),
        *(("Extension", _extension(each)) for each in single["extensions"]),
    ]


def _enclosed(certificate: dict[str, Any]) -> str:
    if "unreadable" in certificate:
        return f"unreadable: {certificate['unreadable']}"
    purpose = ", for OCSP signing" if certificate["ocsp_signing"] else ""
    return f"{certificate['subject']}, by {certificate['issuer']}, until {certificate['not_after_time']}{purpose}"


def _extension(extension: Json) -> str:
    critical = ", critical" if extension["critical"] else ""
    return f"{extension['name']} ({extension['meaning']}{critical}): {extension['value']}"
