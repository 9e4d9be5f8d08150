r"""A certificate's subject in OpenSSL's one-line form, as `openssl ca` writes it into index.txt.

What it guarantees: octet for octet what X509_NAME_oneline makes of the same name since OpenSSL 3.0:
`/C=GB/O=Caf\xC3\xA9/CN=a\/b+UID=1`. Octets of a value stand for themselves from space to tilde, a backslash among them;
a slash and a plus sign have a backslash before them, and all others are escaped, whatever kind of string it is. OpenSSL
1.1 and before wrote slashes and plus signs without, and a slash between the attributes of one relative name, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

_ESCAPED: Final = [chr(octet) if 0x20 <= octet <= 0x7E else f"\\x{octet:02X}" for octet in range(256)]
_ESCAPED[ord("/")], _ESCAPED[ord("+")] = r"\/", r"\+"
_BIT_STRING, _CONSTRUCTED = 0x03, 0x20


def subject_line(certificate_der: bytes) -> str:
    """The subject of a certificate; empty where the name is. Raises ValueError for what is no certificate."""
    return name_line(subject_of(certificate_der))


def name_line(name_der: bytes) -> str:
    """A Name in DER. Raises ValueError for what is none."""
    try:
        return "".join(_attributes(name_der))
    except IndexError:
        raise ValueError("not a name in DER") from None


def index_subject(certificate_der: bytes, serial: str) -> str:
    """What index.txt says of a certificate: where its subject is empty, `openssl ca` writes the serial number."""
    return subject_line(certificate_der) or serial


def subject_of(certificate_der: bytes) -> bytes:
    """The subject (Name) as it stands in a certificate. Raises ValueError."""
    try:
        return _subject(certificate_der)
    except IndexError:
        raise ValueError("not a certificate in DER") from None


def _subject(der: bytes) -> bytes:
    place, _ = _content(der, 0)  # Certificate
    place, _ = _content(der, place)  # TBSCertificate (RFC 5280, section 4.1)
    if der[place] == 0xA0:  # version
        place = _end(der, place)
    for _ in range(4):  # serialNumber, signature, issuer, validity
        place = _end(der, place)
    return der[place : _end(der, place)]


def _attributes(der: bytes) -> Iterator[str]:
    place, end = _content(der, 0)
    if end != len(der):
        raise ValueError("not a name in DER")
    while place < end:
        inner, place = _content(der, place)  # RelativeDistinguishedName
        separator = "/"
        while inner < place:
            start, inner = _content(der, inner)  # AttributeTypeAndValue
            first, last = _content(der, start)
            yield f"{separator}{_attribute_name(der[first:last])}={_text(der, last)}"
            separator = "+"


def _text(der: bytes, place: int) -> str:
    start, end = _content(der, place)
    if der[place] & _CONSTRUCTED:
        start = place  # OpenSSL keeps the whole of it
    elif der[place] == _BIT_STRING:
        start += 1  # the number of unused bits
    return "".join(map(_ESCAPED.__getitem__, der[start:end]))


def _content(der: bytes, place: int) -> tuple[int, int]:
    """Where the content of the value at that place begins and ends. Raises ValueError, IndexError at the end."""
    length = der[place + 1]
    start = place + 2
    if length & 0x80:
        octets = length & 0x7F
        start += octets
        length = int.from_bytes(der[place + 2 : start], "big")
    if start + length > len(der):
        raise ValueError("a value in DER is cut off")
    return start, start + length


def _end(der: bytes, place: int) -> int:
    return _content(der, place)[1]


@lru_cache(maxsize=256)
def _attribute_name(oid: bytes) -> str:
    """The short name that OpenSSL has for an attribute, or else its number with dots."""
    arcs, value = [], 0
    for octet in oid:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    dotted = ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
    return SHORT_NAMES.get(dotted, dotted)


def _names(table: Mapping[str, str]) -> dict[str, str]:
    return {
        f"{base}.{number}": name
        for base, words in table.items()
        for number, _, name in (word.partition(":") for word in words.split())
    }


# All kinds of attributes that `openssl list -objects` knows, and that anybody has reason to put into a name.
SHORT_NAMES: Final = _names(
    {
        "2.5.4": (
            "3:CN 4:SN 5:serialNumber 6:C 7:L 8:ST 9:street 10:O 11:OU 12:title 13:description 14:searchGuide "
            "15:businessCategory 16:postalAddress 17:postalCode 18:postOfficeBox 19:physicalDeliveryOfficeName "
            "20:telephoneNumber 21:telexNumber 22:teletexTerminalIdentifier 23:facsimileTelephoneNumber 24:x121Address "
            "25:internationaliSDNNumber 26:registeredAddress 27:destinationIndicator 28:preferredDeliveryMethod "
            "29:presentationAddress 30:supportedApplicationContext 31:member 32:owner 33:roleOccupant 34:seeAlso "
            "35:userPassword 36:userCertificate 37:cACertificate 38:authorityRevocationList "
            "39:certificateRevocationList 40:crossCertificatePair 41:name 42:GN 43:initials 44:generationQualifier "
            "45:x500UniqueIdentifier 46:dnQualifier 47:enhancedSearchGuide 48:protocolInformation 49:distinguishedName "
            "50:uniqueMember 51:houseIdentifier 52:supportedAlgorithms 53:deltaRevocationList 54:dmdName 65:pseudonym "
            "72:role 97:organizationIdentifier 98:c3 99:n3 100:dnsName"
        ),
        "0.9.2342.19200300.100.1": (
            "1:UID 2:textEncodedORAddress 3:mail 4:info 5:favouriteDrink 6:roomNumber 7:photo 8:userClass 9:host "
            "10:manager 11:documentIdentifier 12:documentTitle 13:documentVersion 14:documentAuthor "
            "15:documentLocation 20:homeTelephoneNumber 21:secretary 22:otherMailbox 23:lastModifiedTime "
            "24:lastModifiedBy 25:DC 26:aRecord 27:pilotAttributeType27 28:mXRecord 29:nSRecord 30:sOARecord "
            "31:cNAMERecord 37:associatedDomain 38:associatedName 39:homePostalAddress 40:personalTitle "
            "41:mobileTelephoneNumber 42:pagerTelephoneNumber 43:friendlyCountryName 44:uid 45:organizationalStatus "
            "46:janetMailbox 47:mailPreferenceOption 48:buildingName 49:dSAQuality 50:singleLevelQuality "
            "51:subtreeMinimumQuality 52:subtreeMaximumQuality 53:personalSignature 54:dITRedirect 55:audio "
            "56:documentPublisher"
        ),
        "1.2.840.113549.1.9": "1:emailAddress 2:unstructuredName 7:challengePassword 8:unstructuredAddress",
        "1.3.6.1.4.1.311.60.2.1": "1:jurisdictionL 2:jurisdictionST 3:jurisdictionC",
        "1.3.6.1.4.1.311.20.2": "3:msUPN",
        "1.3.6.1.5.5.7.9": (
            "1:id-pda-dateOfBirth 2:id-pda-placeOfBirth 3:id-pda-gender 4:id-pda-countryOfCitizenship "
            "5:id-pda-countryOfResidence"
        ),
        "1.2.643.3.131.1": "1:INN",
        "1.2.643.100": "1:OGRN 3:SNILS 5:OGRNIP",
    }
)
