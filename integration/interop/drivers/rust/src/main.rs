//! Opens and seals messages with the official AWS Encryption SDK for Rust. One
//! JSON request a line on standard input, one JSON answer a line on standard
//! output; see ../../doc.go.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead, Write};

use aws_esdk::client::Client;
use aws_esdk::key_store::client::Client as KeyStore;
use aws_esdk::key_store::types::key_store_config::KeyStoreConfig;
use aws_esdk::key_store::types::KmsConfiguration;
use aws_esdk::material_providers::client::Client as MaterialProviders;
use aws_esdk::material_providers::types::keyring::KeyringRef;
use aws_esdk::material_providers::types::material_providers_config::MaterialProvidersConfig;
use aws_esdk::material_providers::types::{AesWrappingAlg, EsdkAlgorithmSuiteId};
use aws_esdk::types::aws_encryption_sdk_config::AwsEncryptionSdkConfig;
use base64::prelude::{Engine, BASE64_STANDARD};
use serde_json::{json, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str> {
    object[field].as_str().ok_or_else(|| format!("no string {field:?}").into())
}

fn bytes(object: &Value, field: &str) -> Result<Vec<u8>> {
    Ok(BASE64_STANDARD.decode(text(object, field)?)?)
}

fn pairs(object: &Value, field: &str) -> Result<HashMap<String, String>> {
    Ok(serde_json::from_value(object[field].clone())?)
}

async fn config(spec: &Value) -> Result<aws_config::SdkConfig> {
    Ok(aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(text(spec, "endpoint")?)
        .region(aws_config::Region::new(text(spec, "region")?.to_owned()))
        .load()
        .await)
}

async fn kms(spec: &Value) -> Result<aws_sdk_kms::Client> {
    Ok(aws_sdk_kms::Client::new(&config(spec).await?))
}

struct Driver {
    sdk: Client,
    providers: MaterialProviders,
    keyrings: HashMap<String, KeyringRef>,
    stores: HashMap<String, KeyStore>,
}

impl Driver {
    fn new() -> Result<Self> {
        Ok(Self {
            sdk: Client::from_conf(AwsEncryptionSdkConfig::builder().build()?)?,
            providers: MaterialProviders::from_conf(MaterialProvidersConfig::builder().build()?)?,
            keyrings: HashMap::new(),
            stores: HashMap::new(),
        })
    }

    async fn store(&mut self, spec: &Value) -> Result<KeyStore> {
        let name = spec.to_string();
        if !self.stores.contains_key(&name) {
            let config = config(spec).await?;
            let made = KeyStore::from_conf(
                KeyStoreConfig::builder()
                    .ddb_client(aws_sdk_dynamodb::Client::new(&config))
                    .ddb_table_name(text(spec, "table")?)
                    .logical_key_store_name(text(spec, "logicalName")?)
                    .kms_client(aws_sdk_kms::Client::new(&config))
                    .kms_configuration(KmsConfiguration::KmsKeyArn(text(spec, "key")?.to_owned()))
                    .build()?,
            )?;
            self.stores.insert(name.clone(), made);
        }
        Ok(self.stores[&name].clone())
    }

    /// Answers the requests that name a key store.
    async fn administer(&mut self, request: &Value) -> Result<Value> {
        let store = self.store(&request["store"]).await?;
        match text(request, "op")? {
            "create-key-store" => {
                store.create_key_store().send().await?;
                Ok(json!({"ok": true}))
            }
            "create-branch-key" => {
                let id = Some(text(request, "branchKey")?.to_owned()).filter(|id| !id.is_empty());
                let context = Some(pairs(request, "context")?).filter(|pairs| !pairs.is_empty());
                let made = store
                    .create_key()
                    .set_branch_key_identifier(id)
                    .set_encryption_context(context)
                    .send()
                    .await?;
                Ok(json!({"ok": true, "branchKey": made.branch_key_identifier}))
            }
            "rotate-branch-key" => {
                store
                    .version_key()
                    .branch_key_identifier(text(request, "branchKey")?)
                    .send()
                    .await?;
                Ok(json!({"ok": true}))
            }
            other => Err(format!("unknown operation {other:?}").into()),
        }
    }

    async fn keyring(&mut self, spec: &Value) -> Result<KeyringRef> {
        Ok(match text(spec, "type")? {
            "raw-aes" => {
                self.providers
                    .create_raw_aes_keyring()
                    .key_namespace(text(spec, "namespace")?)
                    .key_name(text(spec, "name")?)
                    .wrapping_key(bytes(spec, "key")?)
                    .wrapping_alg(AesWrappingAlg::AlgAes256GcmIv12Tag16)
                    .send()
                    .await?
            }
            "kms" => {
                self.providers
                    .create_aws_kms_keyring()
                    .kms_key_id(text(spec, "key")?)
                    .kms_client(kms(spec).await?)
                    .send()
                    .await?
            }
            "kms-discovery" => {
                self.providers
                    .create_aws_kms_discovery_keyring()
                    .kms_client(kms(spec).await?)
                    .send()
                    .await?
            }
            "branch-key" => {
                let store = self.store(&spec["store"]).await?;
                self.providers
                    .create_aws_kms_hierarchical_keyring()
                    .key_store(store)
                    .branch_key_id(text(spec, "branchKey")?)
                    .ttl_seconds(600)
                    .send()
                    .await?
            }
            "multi" => {
                let mut children = Vec::new();
                for child in spec["children"].as_array().ok_or("no children")? {
                    children.push(Box::pin(self.keyring(child)).await?);
                }
                self.providers
                    .create_multi_keyring()
                    .generator(Box::pin(self.keyring(&spec["generator"])).await?)
                    .set_child_keyrings(Some(children))
                    .send()
                    .await?
            }
            other => return Err(format!("unknown keyring type {other:?}").into()),
        })
    }

    async fn answer(&mut self, line: &str) -> Result<Value> {
        let request: Value = serde_json::from_str(line)?;
        if request["store"].is_object() {
            return self.administer(&request).await;
        }
        let name = request["keyring"].to_string();
        if !self.keyrings.contains_key(&name) {
            let made = self.keyring(&request["keyring"]).await?;
            self.keyrings.insert(name.clone(), made);
        }
        let keyring = self.keyrings[&name].clone();
        match text(&request, "op")? {
            "encrypt" => {
                let suite = match text(&request, "suite")? {
                    "0478" => EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKey,
                    "0578" => EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKeyEcdsaP384,
                    other => return Err(format!("unknown suite {other:?}").into()),
                };
                let context = pairs(&request, "context")?;
                let sealed = self
                    .sdk
                    .encrypt()
                    .plaintext(bytes(&request, "plaintext")?)
                    .keyring(keyring)
                    .algorithm_suite_id(suite)
                    .encryption_context(context)
                    .set_frame_length(request["frame"].as_i64())
                    .send()
                    .await?;
                let message = sealed.ciphertext.ok_or("no ciphertext")?;
                Ok(json!({"ok": true, "message": BASE64_STANDARD.encode(message.as_ref())}))
            }
            "decrypt" => {
                let opened = self
                    .sdk
                    .decrypt()
                    .ciphertext(bytes(&request, "message")?)
                    .keyring(keyring)
                    .send()
                    .await?;
                let plaintext = opened.plaintext.ok_or("no plaintext")?;
                Ok(json!({
                    "ok": true,
                    "plaintext": BASE64_STANDARD.encode(plaintext.as_ref()),
                    "context": opened.encryption_context,
                }))
            }
            other => Err(format!("unknown operation {other:?}").into()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut driver = Driver::new()?;
    for line in io::stdin().lock().lines() {
        let result = match driver.answer(&line?).await {
            Ok(result) => result,
            // Every refusal of the SDK is an answer.
            Err(e) => json!({"ok": false, "class": "Error", "error": e.to_string()}),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{result}")?;
        out.flush()?;
    }
    Ok(())
}
