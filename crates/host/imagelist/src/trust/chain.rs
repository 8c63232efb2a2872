//! From the signer to a self-signed CA of the folder.
//!
//! OpenSSL builds and checks the path: signatures, dates, CA flags, purposes, and for every certificate below the root
//! a current CRL whose signature verifies under its issuer. The rules which subjects a CA may certify are ours.

use std::collections::BTreeSet;

use jiff::Timestamp;
use openssl::{
    error::ErrorStack,
    stack::Stack,
    x509::{
        X509, X509PurposeId, X509StoreContext,
        store::{X509Lookup, X509StoreBuilder},
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};

use super::Anchors;
use crate::{
    cms::{Rules, first},
    error::Refusal,
    name::{canonical, one_line},
};

/// Longest chain, certificates.
const MAX_DEPTH: usize = 10;
/// OpenSSL's security level for the chain: RSA from 2048 bits, no SHA-1 (`openssl-ciphers`, 112 bits).
const AUTH_LEVEL: i32 = 2;

/// Checks that `signer` is certified by CAs of the folder, at the time `now`.
pub(crate) fn check(
    anchors: &Anchors,
    signer: &X509,
    rules: &Rules,
    now: Timestamp,
) -> Result<(), Refusal> {
    let subject = one_line(signer.subject_name());
    let wrong = |reason: String| Refusal::Chain { subject: subject.clone(), reason };
    if rules.allow_any_eku {
        check_key_usage(signer).map_err(wrong)?;
    }
    let chain = path(anchors, signer, rules, now)
        .map_err(|e| wrong(format!("openssl says: {}", first(&e))))?
        .map_err(wrong)?;
    // Each certificate and who certified it; a root that signs itself is certified by itself.
    for (at, certificate) in chain.iter().enumerate() {
        let issuer = match chain.get(at + 1) {
            Some(issuer) => issuer,
            None if chain.len() == 1 => certificate,
            None => break,
        };
        let issuer = canonical(&one_line(issuer.subject_name()));
        let certified = canonical(&one_line(certificate.subject_name()));
        anchors.policies.check(&issuer, &certified).map_err(wrong)?;
    }
    Ok(())
}

/// The chain that OpenSSL accepted, the signer first; or why it did not.
fn path(
    anchors: &Anchors,
    signer: &X509,
    rules: &Rules,
    now: Timestamp,
) -> Result<Result<Vec<X509>, String>, ErrorStack> {
    let mut builder = X509StoreBuilder::new()?;
    let own = one_line(signer.subject_name());
    let der = signer.to_der()?;
    let mut is_anchor = false;
    // Only CAs that can be in the chain, and their CRLs: a store of hundreds would be built each time.
    let mut wanted = vec![canonical(&one_line(signer.issuer_name()))];
    let mut added = BTreeSet::new();
    while let Some(subject) = wanted.pop() {
        if !added.insert(subject.clone()) || added.len() > 4 * MAX_DEPTH {
            continue;
        }
        for ca in anchors.cas.get(&subject).into_iter().flatten() {
            is_anchor |= ca.to_der()? == der;
            wanted.push(canonical(&one_line(ca.issuer_name())));
            builder.add_cert(ca.clone())?;
        }
        let lookup = builder.add_lookup(X509Lookup::file())?;
        for crl in anchors.crls.get(&subject).into_iter().flatten() {
            if let Err(error) = lookup.load_crl_file(&crl.path, crl.kind) {
                return Ok(Err(format!("the CRL {} cannot be read: {}", crl.path, first(&error))));
            }
        }
    }
    if added.iter().all(|subject| !anchors.cas.contains_key(subject)) {
        let issuer = one_line(signer.issuer_name());
        return Ok(Err(format!("its CA `{issuer}` is not in the trust folder")));
    }
    let mut param = X509VerifyParam::new()?;
    // A root of the folder that signs itself has nobody above it who could revoke it.
    let root = is_anchor && canonical(&own) == canonical(&one_line(signer.issuer_name()));
    if !root {
        param.set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)?;
    }
    param.set_purpose(if rules.allow_any_eku {
        X509PurposeId::ANY
    } else {
        X509PurposeId::SMIME_SIGN
    })?;
    param.set_time(now.as_second());
    param.set_depth(MAX_DEPTH as i32);
    param.set_auth_level(if rules.allow_sha1 { 0 } else { AUTH_LEVEL });
    builder.set_param(&param)?;
    let store = builder.build();
    // Certificates that came with the message are not used: every issuer must be in the folder.
    let none = Stack::new()?;
    X509StoreContext::new()?.init(&store, signer, &none, |context| {
        if context.verify_cert()? {
            let chain = context.chain().into_iter().flatten();
            return Ok(Ok(chain.map(ToOwned::to_owned).collect()));
        }
        let depth = context.error_depth() as usize;
        let at = context.chain().and_then(|chain| chain.get(depth));
        let whose = at.map(|c| one_line(c.subject_name())).unwrap_or_else(|| own.clone());
        Ok(Err(format!("{} (`{whose}`)", context.error().error_string())))
    })
}

/// A key usage, where there is one, must be for signatures. OpenSSL checks it with the purpose; without one it is ours.
fn check_key_usage(signer: &X509) -> Result<(), String> {
    use openssl::x509::X509KeyUsage as Usage;
    match signer.key_usage() {
        Some(usage) if !usage.intersects(Usage::DIGITAL_SIGNATURE | Usage::NON_REPUDIATION) => {
            Err("its key is not for signatures".to_owned())
        }
        _ => Ok(()),
    }
}
