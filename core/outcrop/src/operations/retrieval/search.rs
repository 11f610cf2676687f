//! A search of a knowledge base as a `retrievalConfiguration` asks for it.

use std::collections::BTreeSet;

use outcrop_api::{Error, Result, Usage};
use outcrop_knowledge::{Filter, Found, KnowledgeBase, Query, Retrieved};
use serde_json::{Map, Value};

use super::rerank::{by_relevance, reranker};
use crate::operations::Call;
use crate::operations::knowledge_bases::refuse;

/// Results where a request does not say how many, as on AWS.
const DEFAULT_RESULTS: usize = 5;

/// What a `retrievalConfiguration` says.
pub(super) struct Search {
    search: outcrop_knowledge::Search,
    results: usize,
    filter: Option<Filter>,
    rerank: Option<Rerank>,
}

/// How results are put in another order.
struct Rerank {
    model: String,
    results: Option<usize>,
    metadata: Fields,
}

/// The metadata that a reranking model reads before a passage.
enum Fields {
    All,
    Only(BTreeSet<String>),
    Without(BTreeSet<String>),
}

impl Search {
    /// Reads the configuration, which stands at `place` in the request.
    ///
    /// # Errors
    /// `ValidationException` for what cannot be honoured.
    pub fn read(configuration: &Value, place: &str) -> Result<Self> {
        refuse(configuration, place, &["managedSearchConfiguration"])?;
        let vector = &configuration["vectorSearchConfiguration"];
        let place = format!("{place}.vectorSearchConfiguration");
        refuse(vector, &place, &["implicitFilterConfiguration"])?;
        let search = match vector["overrideSearchType"].as_str() {
            Some("HYBRID") => outcrop_knowledge::Search::Hybrid,
            _ => outcrop_knowledge::Search::Semantic,
        };
        let read = |filter| {
            Filter::from_json(filter)
                .map_err(|error| Error::validation(format!("{place}.{}", error.message())))
        };
        Ok(Self {
            search,
            results: number(vector, "numberOfResults").unwrap_or(DEFAULT_RESULTS),
            filter: vector.get("filter").map(read).transpose()?,
            rerank: Rerank::read(&vector["rerankingConfiguration"], &place)?,
        })
    }

    /// Searches `base`, and notes the models that ran in the record of the call.
    ///
    /// # Errors
    /// Those of the search and of the models.
    pub async fn run(
        self,
        call: &Call,
        base: &KnowledgeBase,
        text: String,
        field: &'static str,
    ) -> Result<Retrieved> {
        let embedder = async {
            let model = call.session.resolve(base.embedding_model()).await?;
            let embedder = model.embedder()?;
            call.record.model(embedder.id());
            Ok(embedder)
        };
        let mut query = Query::new(text.clone(), self.results)
            .with_search(self.search)
            .with_filter(self.filter);
        query.field = field;
        let mut retrieved = base.search(embedder, query).await?;
        call.record.usage(&Usage::new(retrieved.input_tokens, 0));
        if let Some(rerank) = self.rerank.filter(|_| !retrieved.found.is_empty()) {
            retrieved.found = rerank.run(call, &text, retrieved.found).await?;
        }
        Ok(retrieved)
    }
}

impl Rerank {
    fn read(configuration: &Value, place: &str) -> Result<Option<Self>> {
        if configuration.is_null() {
            return Ok(None);
        }
        let place = format!("{place}.rerankingConfiguration.bedrockRerankingConfiguration");
        let bedrock = &configuration["bedrockRerankingConfiguration"];
        let Some(model) = bedrock["modelConfiguration"]["modelArn"].as_str() else {
            return Err(Error::validation(format!(
                "{place}: expected it for the type BEDROCK_RERANKING_MODEL"
            )));
        };
        refuse(
            &bedrock["modelConfiguration"],
            &format!("{place}.modelConfiguration"),
            &["additionalModelRequestFields"],
        )?;
        let metadata = &bedrock["metadataConfiguration"];
        let selective = &metadata["selectiveModeConfiguration"];
        let names = |list: &Value| -> BTreeSet<String> {
            let fields = list.as_array().into_iter().flatten();
            let names = fields.filter_map(|field| field["fieldName"].as_str());
            names.map(str::to_string).collect()
        };
        let metadata = match metadata["selectionMode"].as_str() {
            None => Fields::Only(BTreeSet::new()),
            Some("ALL") => Fields::All,
            Some(_) if selective.get("fieldsToExclude").is_some() => {
                Fields::Without(names(&selective["fieldsToExclude"]))
            }
            Some(_) => Fields::Only(names(&selective["fieldsToInclude"])),
        };
        Ok(Some(Self {
            model: model.into(),
            results: number(bedrock, "numberOfRerankedResults"),
            metadata,
        }))
    }

    /// The results by their relevance to the query, which becomes their score.
    async fn run(&self, call: &Call, query: &str, found: Vec<Found>) -> Result<Vec<Found>> {
        let reranker = reranker(call, &self.model).await?;
        let text = |found: &Found| {
            format!(
                "{}{}",
                self.metadata.lines(&found.passage.metadata),
                found.passage.text
            )
        };
        let texts: Vec<String> = found.iter().map(text).collect();
        let scores = reranker.rerank(query, &texts).await?;
        let mut found = by_relevance(scores, found);
        found.truncate(self.results.unwrap_or(found.len()));
        Ok(found)
    }
}

impl Fields {
    /// The wanted metadata, a line an attribute.
    fn lines(&self, metadata: &Map<String, Value>) -> String {
        let wanted = |name: &str| match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
            Self::Without(names) => !names.contains(name),
        };
        let lines = metadata.iter().filter(|(name, _)| wanted(name));
        lines
            .map(|(name, value)| format!("{name}: {}\n", written(value)))
            .collect()
    }
}

fn written(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_string)
}

fn number(part: &Value, name: &str) -> Option<usize> {
    part[name].as_u64().map(|n| n as usize)
}
