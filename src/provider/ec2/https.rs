//! HTTPS with the cryptography that SSH uses as well: a second implementation would only add to the build.

use std::time::Duration;

use aws_smithy_http_client::{
    Builder, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// What the SDK's calls go through; otherwise as its own client is, proxies of the process's variables included.
pub fn for_the_sdk() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    })
}

/// The text at a public address.
pub async fn text(url: &str, patience: Duration) -> Result<String, reqwest::Error> {
    // An error means that an earlier call has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(patience).build()?;
    client.get(url).send().await?.error_for_status()?.text().await
}
