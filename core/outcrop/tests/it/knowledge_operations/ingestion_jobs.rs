//! Ingestion jobs: what they tell, how they end, and what a kill leaves.

use super::*;

#[test]
fn a_job_tells_what_it_did() {
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3("rules/"));
    p.write("rules/fees.txt", "A card costs 20 euro.");
    p.write(
        "rules/fees.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 2024}}"#,
    );
    p.write("rules/broken.pdf", "%PDF-1.7 nothing follows");
    p.write("rules/photo.png", "?");
    p.write("letters/one.txt", "Not of this source.");
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "COMPLETE");
    assert!(
        job["failureReasons"][0]
            .as_str()
            .unwrap()
            .starts_with("rules/broken.pdf: ")
    );
    let statistics = |job: &Value| -> Vec<u64> {
        [
            "DocumentsScanned",
            "MetadataDocumentsScanned",
            "NewDocumentsIndexed",
            "ModifiedDocumentsIndexed",
            "MetadataDocumentsModified",
            "DocumentsDeleted",
            "DocumentsFailed",
            "DocumentsSkipped",
        ]
        .iter()
        .map(|name| {
            job["statistics"][format!("numberOf{name}")]
                .as_u64()
                .unwrap()
        })
        .collect()
    };
    assert_eq!(statistics(&job), [3, 1, 1, 0, 0, 0, 1, 1]);
    p.write(
        "rules/fees.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 2025}}"#,
    );
    std::fs::remove_file(p.bucket.join("rules/broken.pdf")).unwrap();
    assert_eq!(
        statistics(&p.ingest(&base, &source)),
        [2, 1, 0, 0, 1, 0, 0, 1]
    );
    std::fs::remove_file(p.bucket.join("rules/fees.txt")).unwrap();
    assert_eq!(statistics(&p.ingest(&base, &source))[5], 1);

    let mut list = json!({"knowledgeBaseId": base, "dataSourceId": source, "maxResults": 2,
        "sortBy": {"attribute": "STARTED_AT", "order": "ASCENDING"},
        "filters": [{"attribute": "STATUS", "operator": "EQ", "values": ["COMPLETE"]}]});
    let first = p.agent("ListIngestionJobs", list.clone());
    assert_eq!(
        first["ingestionJobSummaries"][0]["ingestionJobId"],
        job["ingestionJobId"]
    );
    list["nextToken"] = first["nextToken"].clone();
    assert_eq!(
        p.agent("ListIngestionJobs", list)["ingestionJobSummaries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let none = json!({"knowledgeBaseId": base, "dataSourceId": source,
        "filters": [{"attribute": "STATUS", "operator": "EQ", "values": ["FAILED"]}]});
    assert_eq!(
        p.agent("ListIngestionJobs", none)["ingestionJobSummaries"],
        json!([])
    );
}

#[test]
fn a_job_whose_folder_is_gone_fails_with_its_reason() {
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3("rules/"));
    p.session.map_bucket("bank-docs", None).unwrap();
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "FAILED");
    assert!(
        job["failureReasons"][0]
            .as_str()
            .unwrap()
            .contains("bank-docs is mapped to no folder")
    );
}

#[test]
fn one_job_runs_at_a_time_and_can_be_stopped() {
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3(""));
    for n in 0..1500 {
        p.write(
            &format!("d{n}.txt"),
            &"Cards and fees and rules. ".repeat(40),
        );
    }
    let at = json!({"knowledgeBaseId": base, "dataSourceId": source});
    let job = p.agent("StartIngestionJob", at.clone())["ingestionJob"].clone();
    assert_eq!(
        refusal(&p.session, AGENT, "StartIngestionJob", at.clone()),
        "ConflictException"
    );
    assert_eq!(
        refusal(&p.session, AGENT, "DeleteDataSource", at.clone()),
        "ConflictException"
    );
    let mut one = at.clone();
    one["ingestionJobId"] = job["ingestionJobId"].clone();
    let stopping = p.agent("StopIngestionJob", one.clone())["ingestionJob"].clone();
    assert_eq!(stopping["status"], "STOPPING");
    let until = Instant::now() + Duration::from_secs(20);
    let ended = loop {
        let job = p.agent("GetIngestionJob", one.clone())["ingestionJob"].clone();
        if job["status"] != "STOPPING" {
            break job;
        }
        assert!(Instant::now() < until, "{job}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended["status"], "STOPPED");
    // However far it came, what it tells is what is there.
    let held = outcrop::runtime().unwrap().block_on(async {
        let base = p.session.knowledge_base(&base).await.unwrap();
        base.documents().await.unwrap().len()
    });
    assert_eq!(ended["statistics"]["numberOfNewDocumentsIndexed"], held);
    assert_eq!(
        refusal(&p.session, AGENT, "StopIngestionJob", one),
        "ConflictException"
    );
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "COMPLETE");
}

/// What a child process is told to start: the home, the knowledge base and the data source.
const STARTS: &str = "OUTCROP_TEST_STARTS_A_JOB";

#[test]
fn a_job_whose_process_was_killed_ends_as_failed_and_the_next_goes_on() {
    if let Ok(told) = std::env::var(STARTS) {
        let told: Vec<&str> = told.split('|').collect();
        let session = outcrop::Session::open(outcrop::SessionOptions {
            home: Some(told[0].into()),
            offline: true,
            ..Default::default()
        });
        let at = json!({"knowledgeBaseId": told[1], "dataSourceId": told[2]});
        answer(&session.unwrap(), AGENT, "StartIngestionJob", at);
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3(""));
    for n in 0..3000 {
        p.write(
            &format!("d{n}.txt"),
            &"Cards and fees and rules. ".repeat(40),
        );
    }
    let name = "knowledge_operations::ingestion_jobs::a_job_whose_process_was_killed_ends_as_failed_and_the_next_goes_on";
    let told = format!("{}|{base}|{source}", p.session.home().display());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(STARTS, told)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let at = json!({"knowledgeBaseId": base, "dataSourceId": source});
    let until = Instant::now() + Duration::from_secs(40);
    let wait = |holds: &dyn Fn(&Value) -> bool| loop {
        let jobs = p.agent("ListIngestionJobs", at.clone())["ingestionJobSummaries"].clone();
        if jobs.get(0).is_some_and(holds) {
            return jobs[0]["ingestionJobId"].clone();
        }
        assert!(Instant::now() < until, "{jobs}");
        std::thread::sleep(Duration::from_millis(20));
    };
    wait(&|job| job["statistics"]["numberOfNewDocumentsIndexed"].as_u64() > Some(0));
    child.kill().unwrap();
    child.wait().unwrap();
    let id = wait(&|job| job["status"] == "FAILED");
    let mut one = at.clone();
    one["ingestionJobId"] = id;
    let reason = p.agent("GetIngestionJob", one)["ingestionJob"]["failureReasons"][0].clone();
    assert!(
        reason
            .as_str()
            .unwrap()
            .starts_with("The process that ran the job ended"),
        "{reason}"
    );
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "COMPLETE");
    assert_eq!(job["statistics"]["numberOfDocumentsScanned"], 3000);
}
