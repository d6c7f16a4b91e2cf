//! Reads the public spot advisor's data: how often each type's spot machines are taken away, and what they save.
//!
//! Pure: takes the document's text, never fetches or keeps it. Fields that it doesn't know are of no interest to it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::offer::Interruption;

/// What the advisor says of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rating {
    pub interruption: Interruption,
    /// Percent by which spot undercuts on-demand.
    pub savings: Option<u32>,
}

/// What the advisor says of a region's Linux machines, by type. An empty one knows nothing of any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    ratings: BTreeMap<String, Rating>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdvisorError {
    #[error("the spot advisor's data can't be read")]
    Shape { source: serde_json::Error },
    #[error("the spot advisor's bucket {index} is called {found:?}, not {expected:?}: its ratings can't be told")]
    Ranges { index: usize, found: String, expected: &'static str },
    #[error("the spot advisor knows nothing of Linux machines in region {region:?}")]
    Region { region: String },
}

const BUCKETS: [(&str, Interruption); 5] = [
    ("<5%", Interruption::Below5),
    ("5-10%", Interruption::From5To10),
    ("10-15%", Interruption::From10To15),
    ("15-20%", Interruption::From15To20),
    (">20%", Interruption::Above20),
];

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    ranges: Vec<Range>,
    spot_advisor: BTreeMap<String, Systems>,
}

#[derive(Deserialize)]
struct Range {
    index: usize,
    label: String,
}

#[derive(Deserialize)]
struct Systems {
    #[serde(rename = "Linux", default)]
    linux: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "s")]
    savings: Option<i64>,
    #[serde(rename = "r")]
    bucket: Option<usize>,
}

impl Advice {
    pub fn parse(text: &str, region: &str) -> Result<Self, AdvisorError> {
        let mut document: Document = serde_json::from_str(text).map_err(|source| AdvisorError::Shape { source })?;
        document.ranges.iter().try_for_each(Range::check)?;
        let linux = document.spot_advisor.remove(region).map(|systems| systems.linux).unwrap_or_default();
        if linux.is_empty() {
            return Err(AdvisorError::Region { region: region.to_owned() });
        }
        Ok(Self { ratings: linux.into_iter().map(|(name, entry)| (name, entry.rating())).collect() })
    }

    /// What it says of a type; nothing if it doesn't list it.
    pub fn rating(&self, instance_type: &str) -> Option<Rating> {
        self.ratings.get(instance_type).copied()
    }
}

impl Range {
    fn check(&self) -> Result<(), AdvisorError> {
        match BUCKETS.get(self.index) {
            Some((expected, _)) if self.label.replace(' ', "") != *expected => {
                Err(AdvisorError::Ranges { index: self.index, found: self.label.clone(), expected })
            }
            _ => Ok(()),
        }
    }
}

impl Entry {
    fn rating(&self) -> Rating {
        let bucket = self.bucket.and_then(|index| BUCKETS.get(index));
        Rating {
            interruption: bucket.map_or(Interruption::Unlisted, |(_, interruption)| *interruption),
            savings: self.savings.and_then(|percent| u32::try_from(percent).ok()).filter(|percent| *percent < 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    const DOCUMENT: &str = r#"{
        "ranges": [
            {"index": 0, "label": "<5%", "dots": 0, "max": 5},
            {"index": 4, "label": ">20%", "dots": 4, "max": 100}
        ],
        "global_rate": "<10%",
        "instance_types": {"m5.large": {"emr": true, "cores": 2, "ram_gb": 8.0}},
        "spot_advisor": {
            "us-east-1": {
                "Linux": {
                    "m5.large": {"s": 60, "r": 1, "new": []},
                    "p3.2xlarge": {"s": 0, "r": 4},
                    "odd.one": {"s": -3, "r": 7},
                    "odd.two": {}
                },
                "Windows": {"m5.large": {"s": 30, "r": 3}}
            },
            "xx-new-1": {"Windows": {"m5.large": {"s": 30, "r": 3}}}
        }
    }"#;

    #[test]
    fn linux_machines_of_the_region_are_rated() {
        let advice = Advice::parse(DOCUMENT, "us-east-1").unwrap();
        let rating = |interruption, savings| Some(Rating { interruption, savings });
        assert_eq!(advice.rating("m5.large"), rating(Interruption::From5To10, Some(60)));
        assert_eq!(advice.rating("p3.2xlarge"), rating(Interruption::Above20, Some(0)));
        for odd in ["odd.one", "odd.two"] {
            assert_eq!(advice.rating(odd), rating(Interruption::Unlisted, None), "{odd}");
        }
        assert_eq!(advice.rating("absent"), None);
        assert_eq!(Advice::default().rating("m5.large"), None);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for region in ["mars-1", "xx-new-1"] {
            let error = Advice::parse(DOCUMENT, region).unwrap_err();
            assert!(error.to_string().contains(region), "{error}");
        }
        let error = Advice::parse("<html>", "us-east-1").unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "expected value at line 1 column 1");
        let error = Advice::parse("{}", "us-east-1").unwrap_err();
        assert!(error.source().unwrap().to_string().contains("spot_advisor"), "{error:?}");
    }

    #[test]
    fn other_buckets_are_not_mistaken_for_the_known_ones() {
        let error = Advice::parse(&DOCUMENT.replace("<5%", "<2%"), "us-east-1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the spot advisor's bucket 0 is called \"<2%\", not \"<5%\": its ratings can't be told"
        );
        assert!(Advice::parse(&DOCUMENT.replace(">20%", "> 20%"), "us-east-1").is_ok());
    }
}
