//! Offers keys to a server, one after the other, until it takes one.
//!
//! Runs only after the host key was found to be the expected one. Public keys are the only method.

use russh::client::{self, AuthResult, Handle};
use russh::keys::PrivateKeyWithHashAlg;
use russh::{MethodKind, MethodSet};

use super::algorithms::rsa_hash;
use super::identity::{Identity, Secret};
use super::{AuthError, ConnectFailure, Stage};

pub(super) async fn authenticate<H: client::Handler>(
    handle: &mut Handle<H>,
    user: &str,
    identity: &Identity,
) -> Result<(), ConnectFailure> {
    let mut candidates = identity.candidates().await;
    if let (Some(agent), Some(binding)) = (&mut candidates.agent, handle.agent_session_binding()) {
        // Older agents do not know of bindings; those that need one will refuse to sign.
        let _ = agent.bind_session(binding, false).await;
    }
    let mut tried = Vec::new();
    let mut skipped = candidates.skipped;
    let mut server_accepts = Vec::new();
    for candidate in candidates.keys {
        let hash = match candidate.public.algorithm().is_rsa() {
            true => Some(rsa_hash(handle.best_supported_rsa_hash().await.map_err(broken)?)),
            false => None,
        };
        let result = match (&candidate.secret, &mut candidates.agent) {
            (Secret::Here(key), _) => {
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                handle.authenticate_publickey(user, key).await.map_err(broken)?
            }
            (Secret::InAgent, Some(agent)) => {
                match handle.authenticate_publickey_with(user, candidate.public, hash, agent).await {
                    Ok(result) => result,
                    Err(error) => {
                        skipped.push(format!("{}: the agent did not sign: {error}", candidate.name));
                        continue;
                    }
                }
            }
            (Secret::InAgent, None) => continue,
        };
        tried.push(candidate.name);
        match result {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure { remaining_methods, partial_success } => {
                server_accepts = names(&remaining_methods);
                if partial_success {
                    return Err(AuthError::Partial { user: user.into(), server_accepts }.into());
                }
                if handle.is_closed() || !remaining_methods.contains(&MethodKind::PublicKey) {
                    break;
                }
            }
        }
    }
    Err(AuthError::Rejected { user: user.into(), tried, skipped, server_accepts }.into())
}

fn broken(source: russh::Error) -> ConnectFailure {
    ConnectFailure::Dropped { stage: Stage::Authentication, source: Some(source) }
}

fn names(methods: &MethodSet) -> Vec<String> {
    methods.iter().map(|method| <&str>::from(method).to_owned()).collect()
}
