//! Chat templates against chats that transformers rendered.

use std::path::PathBuf;

use outcrop_api::ErrorKind;
use outcrop_inference::{ChatTemplate, Clock, Tokenizer};
use serde_json::{Map, Value, json};

/// 2026-01-15T12:00:00, when the golden chats were rendered.
const NOON: Clock = Clock::Fixed(1_768_478_400);

/// The folder of golden chats with the templates of public models, which are their authors'.
fn oracles() -> Option<PathBuf> {
    let folder = std::env::var_os("OUTCROP_ORACLES").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: OUTCROP_ORACLES names no folder of golden chats");
    }
    folder
}

fn read(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Renders one golden chat.
fn render(template: &ChatTemplate, case: &Value) -> outcrop_api::Result<String> {
    let list = |key: &str| case[key].as_array().cloned().unwrap_or_default();
    let mut variables = Map::new();
    if let Some(thinking) = case.get("enable_thinking") {
        variables.insert("enable_thinking".to_owned(), thinking.clone());
    }
    let generation = case["add_generation_prompt"].as_bool().unwrap();
    template.render_turns(&list("messages"), &list("tools"), generation, &variables)
}

/// The same chat through Converse's shapes, where they can say it.
fn converse(template: &ChatTemplate, case: &Value) -> outcrop_api::Result<String> {
    let mut system = None;
    let mut messages = Vec::new();
    for message in case["messages"].as_array().unwrap() {
        let text = &message["content"];
        match message["role"].as_str().unwrap() {
            "system" => system = text.as_str(),
            "tool" => messages.push(json!({"role": "user", "content": [
                {"toolResult": {"toolUseId": message["tool_call_id"], "content": [{"text": text}]}}]})),
            role => {
                let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
                let calls = calls.iter().map(|call| json!({"toolUse": {"toolUseId": call["id"],
                    "name": call["function"]["name"], "input": call["function"]["arguments"]}}));
                let content: Vec<Value> = [json!({"text": text})].into_iter().chain(calls).collect();
                messages.push(json!({"role": role, "content": content}));
            }
        }
    }
    let messages: Vec<_> = messages
        .into_iter()
        .map(|m| serde_json::from_value(m).unwrap())
        .collect();
    let tools: Vec<_> = case["tools"].as_array().cloned().unwrap_or_default();
    let tools: Vec<_> = tools
        .iter()
        .map(|tool| &tool["function"])
        .map(|f| json!({"name": f["name"], "description": f["description"], "inputSchema": f["parameters"]}))
        .map(|tool| serde_json::from_value(tool).unwrap())
        .collect();
    let mut variables = Map::new();
    if let Some(thinking) = case.get("enable_thinking") {
        variables.insert("enable_thinking".to_owned(), thinking.clone());
    }
    let generation = case["add_generation_prompt"].as_bool().unwrap();
    template.render(&messages, system, &tools, generation, &variables)
}

/// Checks one golden chat: its text, or that it is refused in the template's words.
fn check(name: &str, case: &Value, rendered: outcrop_api::Result<String>) {
    let name = format!("{name} {}", case["name"]);
    match case["error"].as_str() {
        None => assert_eq!(
            rendered.unwrap_or_else(|e| panic!("{name}: {e}")),
            case["text"],
            "{name}"
        ),
        Some(expected) => {
            let error = rendered.expect_err(&name);
            assert_eq!(error.kind(), ErrorKind::ValidationException);
            let words = expected.split_once(": ").unwrap().1;
            assert!(
                error.message().contains(words),
                "{name}: {error}: expected {words}"
            );
        }
    }
}

#[test]
fn public_templates_render_as_transformers_renders_them() {
    let Some(folder) = oracles().map(|folder| folder.join("chat_templates")) else {
        return;
    };
    let golden = read(folder.join("golden.json"));
    let special = json!({"bos_token": golden["bos_token"], "eos_token": golden["eos_token"]});
    let mut chats = 0;
    for entry in golden["templates"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let mut template = ChatTemplate::new(&text, special.as_object().unwrap().clone()).unwrap();
        template.set_clock(NOON);
        for case in entry["cases"].as_array().unwrap() {
            if !case["text"].is_string() && !case["error"].is_string() {
                continue;
            }
            check(file, case, render(&template, case));
            check(file, case, converse(&template, case));
            chats += 1;
        }
    }
    assert!(chats >= 47, "{chats}");
}

#[test]
fn the_models_own_chats_have_the_golden_ids() {
    let Some(folder) = oracles() else {
        return;
    };
    for (model, path) in [
        ("llama3", "llama3"),
        ("llama3", "llama3/model-Q8_0.gguf"),
        ("llama3_h256", "llama3_h256"),
        ("llama3_h256", "llama3_h256/model-Q4_K_M.gguf"),
        ("qwen3", "qwen3"),
    ] {
        let tokenizer = Tokenizer::load(&folder.join(path)).unwrap();
        let checkpoint = outcrop_inference::Checkpoint::open(&folder.join(path)).unwrap();
        let mut template = ChatTemplate::from_checkpoint(&checkpoint).unwrap().unwrap();
        template.set_clock(NOON);
        let golden = read(folder.join(model).join("golden.json"));
        let chats = golden["chat"].as_array().unwrap();
        assert_eq!(chats.len(), 7);
        for case in chats {
            check(path, case, render(&template, case));
            let text = converse(&template, case).unwrap();
            assert_eq!(
                json!(tokenizer.encode(&text, false).unwrap()),
                case["ids"],
                "{path} {}",
                case["name"]
            );
        }
    }
}

/// Renders a template over one message, with tools where it has them.
fn render_one(template: &str) -> outcrop_api::Result<String> {
    let mut template = ChatTemplate::new(template, Map::new())?;
    template.set_clock(NOON);
    let message = json!({"role": "user", "content": " a <b> & 'c' \"d\" é\n"});
    template.render_turns(&[message], &[], false, &Map::new())
}

#[test]
fn the_language_is_jinja2s() {
    // Each expected text is that of jinja2 3.1.6 with the options and filters of transformers.
    for (template, expected) in [
        (
            "{{ messages[0].content | tojson }}",
            r#"" a <b> & 'c' \"d\" é\n""#,
        ),
        (
            "{{ messages[0].content | tojson(ensure_ascii=True) }}",
            r#"" a <b> & 'c' \"d\" \u00e9\n""#,
        ),
        (
            "{{ {'b': [1, 2.0, none, true], 'a': {}} | tojson }}",
            r#"{"b": [1, 2.0, null, true], "a": {}}"#,
        ),
        (
            "{{ {'b': [1, []], 'a': 1e-7} | tojson(indent=2, sort_keys=True) }}",
            "{\n  \"a\": 1e-07,\n  \"b\": [\n    1,\n    []\n  ]\n}",
        ),
        (
            "{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}",
            r#"[1,{"a":2}]"#,
        ),
        (
            "{{ true }} {{ none }} {{ [true, none, 'x', \"it's\", 1.5] }}",
            "True None [True, None, 'x', \"it's\", 1.5]",
        ),
        ("{{ {'a': {'b': 'c'}} }}", "{'a': {'b': 'c'}}"),
        (
            "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }}{% endfor %}",
            "0user",
        ),
        (
            "{{ 'abcd'[::-2] }}{{ 'abcd'[-2:] }}{{ [1, 2, 3][:-1] }}",
            "dbcd[1, 2]",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "8",
        ),
        ("a{% generation %} b {% endgeneration %}c", "a b c"),
        ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),
        ("{{ strftime_now('%d %b %Y') }}", "15 Jan 2026"),
        (
            "{{ 'x' is sequence }}{{ {} is mapping }}{{ {} is sequence }}{{ 'x' is iterable }}{{ 1 is iterable }}{{ [] is mapping }}",
            "TrueTrueTrueTrueFalseFalse",
        ),
        (
            "{{ ' x\u{1c}'.strip() }}|{{ 'aXbXc'.rsplit('X', 1) }}|{{ 'k=v'.partition('=') }}|{{ 'prefix-x'.removeprefix('prefix-') }}",
            "x|['aXb', 'c']|('k', '=', 'v')|x",
        ),
        (
            "{{ 'a b'.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'x'.upper() }}{{ 'Hello World'.title() }}",
            "['a', 'b']['a', 'b,c']XHello World",
        ),
        (
            "{% for k, v in {'x': 1, 'y': 2}.items() if v > 1 %}{{ k }}{{ v }}{% endfor %}",
            "y2",
        ),
        (
            "{% for k in {'x': 1}|items %}{{ k }}{% endfor %}",
            "('x', 1)",
        ),
        (
            "{{ missing }}|{{ missing is defined }}|{% for x in missing %}x{% endfor %}|{{ missing or 'd' }}",
            "|False||d",
        ),
        (
            "{{ messages|length }}{{ messages[0]['role'] }}{{ messages[0].get('name', 'none') }}{{ 'name' in messages[0] }}",
            "1usernoneFalse",
        ),
        (
            "{{ 7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }} {{ 2 ** 3 }} {{ 'a' ~ 1 }} {{ 1 if false }}",
            "3 3.5 2 8 a1 ",
        ),
        (
            "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='role') | list }}",
            "['user']",
        ),
        (
            "{% macro f(x, y=2) %}{{ x }}{{ y }}{% endmacro %}{{ f(1) }}{{ f(1, y=3) }}",
            "1213",
        ),
        (
            "{{ 1e16 }} {{ 1e-5|string }} {{ 10 / 5 }}",
            "1e+16 1e-05 2.0",
        ),
        (
            "{{ '3'|int + 1 }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ ' 2.9 '|int }} {{ (-2.9)|int }} {{ true|int }}",
            "4 0 7 2 -2 1",
        ),
        (
            "{{ 'a'.center(4) }}|{{ 'ab'.center(5, '*') }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '0') }}",
            " a  |**ab*|a  |00a",
        ),
        (
            "{% for m in [1, 2, 3] %}{{ loop.index }}{{ loop.last }}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
            "1False32;2False213;3True12;",
        ),
        (
            "{{ '{}-{}'.format('a', 1) }} {{ '{:>5}|{:.2f}'.format('a', 1.239) }} {{ '%s-%05.2f'|format('a', 3.14159) }}",
            "a-1     a|1.24 a-03.14",
        ),
        (
            "{{ 5 // 2 }} {{ -5 // 2 }} {{ 7.5 // 2 }} {{ 1 == 1.0 }} {{ 1 < 2 < 3 }}",
            "2 -3 3.0 True True",
        ),
        (
            "{% macro w() %}<{{ caller() }}>{% endmacro %}{% call w() %}in{% endcall %}",
            "<in>",
        ),
        (
            "{{ 1 ~ 2 ~ none ~ true ~ [1] }} {{ [1, none, 2]|select|list }} {{ [[1, 2], [3]]|map('length')|list }}",
            "12NoneTrue[1] [1, 2] [2, 1]",
        ),
        (
            r#"{{ ['a\nb', 'é', "it's", 'q"', '\\'] }}"#,
            r#"['a\nb', 'é', "it's", 'q"', '\\']"#,
        ),
    ] {
        assert_eq!(
            render_one(template).unwrap_or_else(|e| panic!("{template}: {e}")),
            expected,
            "{template}"
        );
    }
}

#[test]
fn what_jinja2_refuses_is_refused() {
    for template in [
        "{{ raise_exception('No system role') }}",
        "{% for tool in tools %}{% endfor %}",
        "{{ missing.role }}",
        "{{ missing + 'x' }}",
        "{{ 'x' + 1 }}",
        "{{ missing | tojson }}",
        "{{ 'x'.nonsense() }}",
    ] {
        let error = render_one(template).expect_err(template);
        assert_eq!(
            error.kind(),
            ErrorKind::ValidationException,
            "{template}: {error}"
        );
    }
    assert_eq!(
        render_one("{{ raise_exception('No <system> role') }}")
            .unwrap_err()
            .message(),
        "chat template: No <system> role"
    );
    let error = render_one("{% if %}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelErrorException);
}

/// A template that doubles a value `times` times in nested blocks, then makes it text.
fn doubled(open: &str, close: &str, times: usize) -> String {
    let (open, close) = (open.repeat(times), close.repeat(times));
    format!("{{% set x = [1] %}}{open}{{{{ x ~ '' }}}}{close}")
}

#[test]
fn a_template_that_runs_away_is_stopped() {
    let nested = |times: usize| ["[".repeat(times), "]".repeat(times)];
    let [open, close] = nested(20);
    let [parens, closed] = nested(100_000).map(|s| s.replace('[', "(").replace(']', ")"));
    for template in [
        // Time.
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(10**12) %}{% endfor %}",
        "{{ range(10**12)|list|length }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        // Text.
        "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s|length }}",
        "{{ 'x' * 99999999 * 99999 }}",
        "{{ 'a' * 10**9 }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 999999999) }}",
        "{{ '1'.zfill(999999999) }}",
        "{% set s = 'a' * 1000000 %}{{ s.replace('a', s)|length }}",
        "{% set s = 'a' * 1000000 %}{{ s|replace('a', s)|length }}",
        "{% set s = 'a' * 1000000 %}{{ s.join(s)|length }}",
        // Depth, when it is made, printed, compared and dropped.
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% for j in range(10) %}{% set ns.l = [[[[ns.l]]]] %}{% endfor %}{% endfor %}{{ ns.l is mapping }}",
        "{% set ns = namespace(l={}) %}{% for i in range(9999) %}{% set ns.l = {'a': ns.l} %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a|tojson }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(9999) %}{% for x in [ns.l] %}{% set ns.l = [loop] %}{% endfor %}{% endfor %}",
        &format!("{{% macro f(x) %}}{{{{ f({open}x{close}) }}}}{{% endmacro %}}{{{{ f(1) }}}}"),
        &format!("{{{{ {parens}1{closed} }}}}"),
        &format!("{{{{ {}1 }}}}", "not ".repeat(50_000)),
        &format!("{{{{ messages{} }}}}", "[0:]".repeat(50_000)),
        &format!("{{{{ 1{} }}}}", "+x".repeat(50_000)),
        &format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(50_000)),
        // Lists that hold one list many times.
        "{% set ns = namespace(l=['x']) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        "{{ ([[[['a']*1000]*1000]*1000]*1000) }}",
        "{% macro f(x, n) %}{% if n == 0 %}{{ x ~ '' }}{% else %}{{ f([x, x], n - 1) }}{% endif %}{% endmacro %}{{ f(1, 60) }}",
        &doubled("{% with x = [x, x] %}", "{% endwith %}", 60),
        &doubled("{% for x in [[x, x]] %}", "{% endfor %}", 60),
    ] {
        let error = render_one(template).expect_err(template);
        let message = error.message();
        assert!(message.starts_with("chat template: "), "{message}");
        assert!(!message.contains("broke off"), "{template}: {message}");
    }
}

#[test]
fn long_expressions_within_the_limits_have_stack_enough() {
    for (template, expected) in [
        (format!("{{{{ {}1 }}}}", "-".repeat(16_000)), "1"),
        (format!("{{{{ {}1 }}}}", "not ".repeat(4_000)), "True"),
        (
            format!("{{{{ messages{}|length }}}}", "[0:]".repeat(4_000)),
            "1",
        ),
        (
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(20_000)),
            "",
        ),
    ] {
        assert_eq!(render_one(&template).unwrap(), expected);
    }
}

#[test]
fn what_is_kept_in_variables_stays_what_it_was() {
    // The expected text is jinja2's.
    let template = "{% set ns = namespace(l=[], s='') %}{% for m in messages[0:] %}{% set ns.l = ns.l + [m] %}{% set ns.s = ns.s ~ m.role %}{% endfor %}\
        {% set turns = ns.l[::-1] %}{% macro f(a, b=2) -%}\n  x {{ a }}{{ b }}{%- endmacro %}{{ f(1) }} {{ turns|length }} {{ ns.s }} \
        {% set a, b = 1, (2, 3) %}{{ a }}{{ b }} {% set d = {'b': 1, 'a': [none]} %}{{ d }}{{ d.items()|list }} \
        {% with q = d, p = 1 %}{{ q.a }}{{ p }}{% endwith %} {% set r = range(3) %}{{ r|list }}{% for x in r %}{{ x }}{% endfor %} {{ turns[0].role }}";
    assert_eq!(
        render_one(template).unwrap(),
        "x 12 1 user 1(2, 3) {'b': 1, 'a': [None]}[('b', 1), ('a', [None])] [None]1 [0, 1, 2]012 user"
    );
}

/// The local time to the minute, as the system's `date` has it.
fn date() -> String {
    let output = std::process::Command::new("date")
        .arg("+%Y-%m-%d %H:%M")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
#[cfg(unix)]
fn now_is_local_time() {
    const ZONED: &str = "OUTCROP_TEST_HAS_ZONE";
    if std::env::var_os(ZONED).is_none() {
        // A process's zone is set from outside: the test runs itself in two.
        for zone in ["UTC0", "NPT-5:45"] {
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "chat_template::now_is_local_time"])
                .envs([("TZ", zone), (ZONED, "1")])
                .status()
                .unwrap();
            assert!(status.success(), "{zone}");
        }
        return;
    }
    let template = ChatTemplate::new("{{ strftime_now('%Y-%m-%d %H:%M') }}", Map::new()).unwrap();
    let before = date();
    let now = template.render_turns(&[], &[], false, &Map::new()).unwrap();
    assert!([before, date()].contains(&now), "{now}");
}

#[test]
fn named_templates_are_chosen_by_the_tools() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"bos_token": {"content": "<s>"}, "chat_template": [
        {"name": "default", "template": "{{ bos_token }}plain"}, {"name": "tool_use", "template": "tools {{ tools|length }}"}]});
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        config.to_string(),
    )
    .unwrap();
    let rendered = |tools: &[Value]| {
        let template = ChatTemplate::from_folder(folder.path()).unwrap().unwrap();
        template
            .render_turns(&[], tools, false, &Map::new())
            .unwrap()
    };
    assert_eq!(rendered(&[]), "<s>plain");
    assert_eq!(rendered(&[json!({})]), "tools 1");
    std::fs::write(folder.path().join("chat_template.jinja"), "file").unwrap();
    assert_eq!(rendered(&[]), "file");
    std::fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), "{}").unwrap();
    assert!(ChatTemplate::from_folder(folder.path()).unwrap().is_none());
}

#[test]
fn a_variable_cannot_stand_in_for_the_request() {
    let template = ChatTemplate::new("{{ messages }}", Map::new()).unwrap();
    let variables = json!({"messages": []}).as_object().unwrap().clone();
    let error = template
        .render_turns(&[], &[], false, &variables)
        .unwrap_err();
    assert!(
        error.message().contains("template_variables.messages"),
        "{error}"
    );
}
