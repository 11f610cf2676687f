//! A held prefix, as JavaScript holds it.

use napi::bindgen_prelude::{Env, PromiseRaw, Uint32Array};
use napi_derive::napi;
use outcrop::from_json;

use crate::call::{Cancellation, promise};

/// The beginning of prompts that a model's cache holds.
#[napi]
pub struct Prefix(pub(crate) outcrop::Prefix);

#[napi]
impl Prefix {
    #[napi]
    pub fn ids(&self) -> Uint32Array {
        self.0.ids().to_vec().into()
    }

    #[napi]
    pub fn fork<'env>(
        &self,
        env: &'env Env,
        more: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Prefix>> {
        let prefix = self.0.clone();
        promise(env, cancellation, async move {
            Ok(Prefix(prefix.fork(from_json("more", &more)?).await?))
        })
    }

    #[napi]
    pub fn save<'env>(
        &self,
        env: &'env Env,
        file: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let prefix = self.0.clone();
        promise(
            env,
            cancellation,
            async move { prefix.save(file.into()).await },
        )
    }

    #[napi]
    pub fn release(&self) {
        self.0.release();
    }
}
