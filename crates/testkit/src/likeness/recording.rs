//! Requests and their answers as a file that people can read.
//!
//! ```text
//! PATCH /api/v1/namespaces/n/configmaps/a?fieldManager=x application/merge-patch+json
//! {"data":{"k":"v"}}
//! = {"code":200,…}
//!
//! GET /api/v1/configmaps?watch=true&resourceVersion=<version:3>
//! + ["ADDED","n/a","<version:4>"]
//! ```

use serde_json::Value;

use super::Asked;

/// Says that an answer is to show metadata alone.
const METADATA: &str = "metadata";

/// What was asked, in order, and what came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// What it is of: lines of words.
    pub about: String,
    /// In the order in which the server did it.
    pub exchanges: Vec<Exchange>,
}

/// A request, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The request.
    pub asked: Asked,
    /// The answer; of a watch null.
    pub answer: Value,
    /// What a watch told while it was followed.
    pub told: Vec<Value>,
}

impl Recording {
    /// Reads a file; fails with what is wrong in it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut recording = Self::default();
        for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            match block.strip_prefix("# ") {
                Some(about) => about.replace("\n# ", "\n").clone_into(&mut recording.about),
                None => recording.exchanges.push(Exchange::read(block)?),
            }
        }
        Ok(recording)
    }

    /// As the text of a file.
    pub fn text(&self) -> String {
        let mut text = format!("# {}\n", self.about.replace('\n', "\n# "));
        for exchange in &self.exchanges {
            text.push('\n');
            exchange.write(&mut text);
        }
        text
    }
}

impl Exchange {
    fn read(block: &str) -> Result<Self, String> {
        let mut lines = block.trim().lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path, form) = (word(), word(), word());
        let mut exchange = Self {
            asked: Asked {
                method,
                path,
                of_metadata: form == METADATA,
                content_type: if form == METADATA { String::new() } else { form },
                body: String::new(),
            },
            answer: Value::Null,
            told: Vec::new(),
        };
        for line in lines {
            let json = |text: &str| {
                serde_json::from_str(text)
                    .map_err(|error| format!("{}: {text}: {error}", exchange.asked.path))
            };
            if let Some(answer) = line.strip_prefix("= ") {
                exchange.answer = json(answer)?;
            } else if let Some(event) = line.strip_prefix("+ ") {
                let event = json(event)?;
                exchange.told.push(event);
            } else {
                line.clone_into(&mut exchange.asked.body);
            }
        }
        Ok(exchange)
    }

    fn write(&self, text: &mut String) {
        let asked = &self.asked;
        let form = if asked.of_metadata {
            METADATA
        } else {
            &asked.content_type
        };
        let first = [asked.method.as_str(), &asked.path, form].join(" ");
        let mut line = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        line(first.trim_end());
        if !asked.body.is_empty() {
            line(&asked.body);
        }
        if !self.answer.is_null() {
            line(&format!("= {}", self.answer));
        }
        for event in &self.told {
            line(&format!("+ {event}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let recording = Recording {
            about: "Two requests\nand a watch".to_owned(),
            exchanges: vec![
                Exchange {
                    asked: Asked {
                        method: "PATCH".to_owned(),
                        path: "/x?fieldManager=m".to_owned(),
                        content_type: "application/merge-patch+json".to_owned(),
                        of_metadata: false,
                        body: r#"{"data":{"k":"v"}}"#.to_owned(),
                    },
                    answer: json!({"code": 200}),
                    told: Vec::new(),
                },
                Exchange {
                    asked: Asked {
                        of_metadata: true,
                        ..Asked::get("/x/a")
                    },
                    answer: json!({"code": 404}),
                    told: Vec::new(),
                },
                Exchange {
                    asked: Asked::get("/x?watch=true"),
                    answer: Value::Null,
                    told: vec![
                        json!(["ADDED", "a", "<version:1>"]),
                        json!(["DELETED", "a", "<version:2>"]),
                    ],
                },
            ],
        };
        assert_eq!(Recording::read(&recording.text()).unwrap(), recording);
    }

    #[test]
    fn a_line_that_is_no_json_is_named() {
        let error = Recording::read("GET /x\n= {").unwrap_err();
        assert!(error.starts_with("/x: {"), "{error}");
    }
}
