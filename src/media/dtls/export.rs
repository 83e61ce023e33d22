//! From a completed handshake to the keys of both directions (RFC 5764 §4.2).

use openssl::error::ErrorStack;
use openssl::srtp::SrtpProfileId;
use openssl::ssl::SslRef;

use super::Role;
use crate::media::{MasterKey, SrtpKeys, SrtpProfile};

const LABEL: &str = "EXTRACTOR-dtls_srtp";

/// The profile that was agreed. `None`: no common one, which the library takes for success.
pub(super) fn profile(ssl: &SslRef) -> Option<SrtpProfile> {
    match ssl.selected_srtp_profile()?.id() {
        SrtpProfileId::SRTP_AES128_CM_SHA1_80 => Some(SrtpProfile::AesCm128HmacSha1_80),
        SrtpProfileId::SRTP_AEAD_AES_128_GCM => Some(SrtpProfile::AeadAes128Gcm),
        SrtpProfileId::SRTP_AEAD_AES_256_GCM => Some(SrtpProfile::AeadAes256Gcm),
        _ => None,
    }
}

/// The keys of both directions, as `role` sees them.
pub(super) fn keys(ssl: &SslRef, profile: SrtpProfile, role: Role) -> Result<SrtpKeys, ErrorStack> {
    let mut material = vec![0; 2 * profile.key_and_salt_len()];
    ssl.export_keying_material(&mut material, LABEL, None)?;
    let (client, server) = split(&material, profile.salt_len());
    let (send, receive) = match role {
        Role::Client => (client, server),
        Role::Server => (server, client),
    };
    Ok(SrtpKeys {
        profile,
        send,
        receive,
    })
}

/// The client's key, the server's key, the client's salt, the server's salt: into what each of them sends with.
fn split(material: &[u8], salt_len: usize) -> (MasterKey, MasterKey) {
    let (keys, salts) = material.split_at(material.len() - 2 * salt_len);
    let (client_key, server_key) = keys.split_at(keys.len() / 2);
    let (client_salt, server_salt) = salts.split_at(salt_len);
    (
        MasterKey([client_key, client_salt].concat()),
        MasterKey([server_key, server_salt].concat()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_before_salts_and_the_client_before_the_server() {
        let material: Vec<u8> = (0..60).collect();
        let (client, server) = split(&material, 14);
        let expected = |key: std::ops::Range<u8>, salt| key.chain(salt).collect::<Vec<u8>>();
        assert_eq!(client.0, expected(0..16, 32..46));
        assert_eq!(server.0, expected(16..32, 46..60));
    }
}
