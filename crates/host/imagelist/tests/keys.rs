//! Which keys may sign (rule 11 of section 1.2), with a CA of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    cms::{CMSOptions, CmsContentInfo},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, PKeyRef, Private},
    rsa::Rsa,
    x509::{
        X509, X509Builder, X509CrlBuilder, X509Name, X509NameBuilder,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, CrlNumber, ExtendedKeyUsage, KeyUsage,
            SubjectKeyIdentifier,
        },
    },
};
use vnode_imagelist::{Expected, Refusal, Rules, TrustFolder, judge};

fn name(text: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, text).unwrap();
    name.build()
}

fn curve(nid: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(nid).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// A certificate for `key`; without an issuer it signs itself and is a CA.
fn certificate(
    subject: &str,
    key: &PKeyRef<Private>,
    issuer: Option<(&str, &PKeyRef<Private>)>,
    usage: KeyUsage,
) -> X509 {
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(if issuer.is_some() { 200 } else { 1 }).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name(subject)).unwrap();
    builder.set_issuer_name(&name(issuer.map_or(subject, |(name, _)| name))).unwrap();
    builder.set_not_before(&Asn1Time::from_str("20200101000000Z").unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_str("20991231000000Z").unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    let mut basic = BasicConstraints::new();
    if issuer.is_none() {
        basic.ca();
    } else {
        let mail = ExtendedKeyUsage::new().email_protection().build().unwrap();
        builder.append_extension(mail).unwrap();
    }
    builder.append_extension(basic.critical().build().unwrap()).unwrap();
    builder.append_extension(usage.build().unwrap()).unwrap();
    let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(id).unwrap();
    builder.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    builder.build()
}

/// What becomes of a list that `key` signs, certified for `usage` by a trusted CA.
fn judged(key: &PKeyRef<Private>, usage: KeyUsage, rules: Rules) -> Result<(), Refusal> {
    let root = curve(Nid::X9_62_PRIME256V1);
    let mut for_ca = KeyUsage::new();
    for_ca.key_cert_sign().crl_sign();
    let ca = certificate("CA", &root, None, for_ca);
    let mut crl = X509CrlBuilder::new().unwrap();
    crl.set_issuer_name(ca.subject_name()).unwrap();
    crl.set_last_update(&Asn1Time::from_str("20200101000000Z").unwrap()).unwrap();
    crl.set_next_update(&Asn1Time::from_str("20991231000000Z").unwrap()).unwrap();
    let about = X509Builder::new().unwrap();
    let mut issuer = AuthorityKeyIdentifier::new();
    let issuer = issuer.keyid(true).build(&about.x509v3_context(Some(&ca), None)).unwrap();
    crl.append_extension(issuer).unwrap();
    let number = CrlNumber::new(BigNum::from_u32(1).unwrap()).unwrap();
    crl.append_extension(number.build().unwrap()).unwrap();
    crl.sign(&root, MessageDigest::sha256()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let put = |file: &str, bytes: &[u8]| fs::write(folder.path().join(file), bytes).unwrap();
    put("any-name.pem", &ca.to_pem().unwrap());
    // DER, with a name that is no hash: both are allowed.
    put("any-name.r3", &crl.build().unwrap().to_der().unwrap());
    put("any-name.namespaces", b"TO Issuer SELF PERMIT Subject \"/CN=Sig.*\"\n");

    let signer = certificate("Signer", key, Some(("CA", &root)), usage);
    let list = serde_json::json!({"hv:imagelist": {
        "dc:identifier": "l", "dc:title": "", "dc:description": "", "dc:source": "",
        "dc:date:created": "2020-01-01T00:00:00Z", "dc:date:expires": "2098-12-31T22:00:00Z",
        "hv:version": "1", "hv:uri": "http://h/l", "hv:images": [],
        "hv:endorser": {"hv:x509":
            {"hv:dn": "/CN=Signer", "hv:ca": "/CN=CA", "hv:email": "e", "dc:creator": "c"}},
    }})
    .to_string();
    let flags = CMSOptions::DETACHED | CMSOptions::BINARY;
    let cms = CmsContentInfo::sign(Some(&signer), Some(key), None, Some(list.as_bytes()), flags);
    let signature = STANDARD.encode(cms.unwrap().to_der().unwrap());
    let message = format!(
        "Content-Type: multipart/signed; boundary=b\n\n--b\n{list}\n--b\n\
         Content-Type: application/pkcs7-signature\nContent-Transfer-Encoding: base64\n\n{signature}\n--b--\n"
    );
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let anchors = TrustFolder::new(folder.path()).anchors().unwrap();
    assert_eq!(anchors.problems(), []);
    let expected = Expected { rules, ..Expected::default() };
    judge(message.as_bytes(), &anchors, &expected, now).map(|_| ())
}

fn signing() -> KeyUsage {
    let mut usage = KeyUsage::new();
    usage.digital_signature();
    usage
}

#[test]
fn keys_that_are_strong_enough() {
    for key in [curve(Nid::X9_62_PRIME256V1), curve(Nid::SECP384R1), rsa(2048), rsa(3072)] {
        assert_eq!(judged(&key, signing(), Rules::default()), Ok(()), "{:?}", key.bits());
    }
}

#[test]
fn keys_that_are_not() {
    for (key, words) in [
        (rsa(1024), "1024 bits"),
        (curve(Nid::SECP521R1), "neither P-256 nor P-384"),
        (curve(Nid::SECP256K1), "neither P-256 nor P-384"),
    ] {
        // Allowing SHA-1 is no leave for weak keys.
        for allow_sha1 in [false, true] {
            let rules = Rules { allow_sha1, ..Rules::default() };
            let refusal = judged(&key, signing(), rules).unwrap_err();
            assert!(refusal.to_string().contains(words), "{refusal}");
            assert_eq!(refusal.exit_code(), 11);
        }
    }
}

#[test]
fn a_key_that_is_not_for_signatures_is_refused_with_every_setting() {
    let key = rsa(2048);
    for allow_any_eku in [false, true] {
        let mut usage = KeyUsage::new();
        usage.key_encipherment();
        let rules = Rules { allow_any_eku, ..Rules::default() };
        let refusal = judged(&key, usage, rules).unwrap_err();
        assert!(matches!(refusal, Refusal::Chain { .. }), "{refusal}");
        let mut usage = KeyUsage::new();
        usage.non_repudiation();
        assert_eq!(judged(&key, usage, rules), Ok(()));
    }
}
