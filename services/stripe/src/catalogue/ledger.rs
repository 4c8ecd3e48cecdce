//! The installation's choices about the ledger, in the same file as what it sells: `[ledger]` and `[[thresholds]]`.

use domain::{MAX_THRESHOLDS, Problem, Rules, Shortfall, Threshold, Unit};
use serde::Deserialize;
use toml::Spanned;

use super::CatalogueError;
use super::file::Checker;

/// Longest grace, in seconds: ten years.
const MAX_REVERSAL_GRACE_S: i64 = 10 * 366 * 86_400;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerFile {
    reversal_grace_s: Option<Spanned<i64>>,
    shortfall: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThresholdFile {
    name: Spanned<String>,
    unit: Option<Spanned<String>>,
    at: Spanned<i64>,
    rearm_at: Option<Spanned<i64>>,
}

impl Checker<'_> {
    pub(super) fn add_ledger(&mut self, file: LedgerFile) -> Result<(), CatalogueError> {
        let mut rules = Rules::default();
        if let Some(grace) = &file.reversal_grace_s {
            let field = "ledger.reversal_grace_s".to_owned();
            rules.reversal_grace_s = self.in_range(grace, field, 1, MAX_REVERSAL_GRACE_S)?;
        }
        if let Some(shortfall) = &file.shortfall {
            rules.shortfall = match shortfall.get_ref().as_str() {
                "owed" => Shortfall::Owed,
                "forgiven" => Shortfall::Forgiven,
                _ => {
                    let problem = Problem::Rule("must be owed or forgiven");
                    return Err(self.fault(shortfall, "ledger.shortfall", problem));
                }
            };
        }
        self.catalogue.rules = rules;
        Ok(())
    }

    pub(super) fn add_thresholds(
        &mut self,
        files: Vec<Spanned<ThresholdFile>>,
    ) -> Result<(), CatalogueError> {
        if let Some(beyond) = files.get(MAX_THRESHOLDS) {
            let problem = Problem::TooMany { limit: MAX_THRESHOLDS, actual: files.len() };
            return Err(self.fault(beyond, "thresholds", problem));
        }
        for file in files {
            let threshold = self.threshold(&file.into_inner())?;
            self.catalogue.thresholds.push(threshold);
        }
        Ok(())
    }

    fn threshold(&self, file: &ThresholdFile) -> Result<Threshold, CatalogueError> {
        let name = file.name.get_ref();
        let path = |field: &str| format!("thresholds.{name}.{field}");
        if self.catalogue.thresholds.iter().any(|known| known.name() == name) {
            return Err(self.fault(&file.name, "thresholds.name", Problem::Rule("is used twice")));
        }
        let text = file.unit.as_ref().map_or("", |unit| unit.get_ref());
        let at_unit = file.unit.as_ref().unwrap_or(&file.name);
        let unit =
            Unit::try_new(text).map_err(|invalid| self.fault(at_unit, path("unit"), invalid.problem))?;
        if self.catalogue.lookup_scale(&unit).is_none() {
            return Err(self.fault(at_unit, path("unit"), Problem::Rule("must be declared under [units]")));
        }
        let at = *file.at.get_ref();
        let rearm_at = file.rearm_at.as_ref().map_or(at, |value| *value.get_ref());
        Threshold::try_new(name.as_str(), unit, at, rearm_at).map_err(|invalid| match invalid.field {
            "name" => self.fault(&file.name, "thresholds.name", invalid.problem),
            "at" => self.fault(&file.at, path("at"), invalid.problem),
            field => self.fault(file.rearm_at.as_ref().unwrap_or(&file.at), path(field), invalid.problem),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Catalogue;
    use super::*;

    const UNITS: &str = "[units.credits]\nscale = 0\n";

    #[test]
    fn the_defaults_hold_without_a_word_and_choices_are_read() {
        let catalogue = Catalogue::parse(UNITS).unwrap();
        assert_eq!((catalogue.rules(), catalogue.thresholds().len()), (Rules::default(), 0));
        let text = "[ledger]\nreversal_grace_s = 60\nshortfall = \"forgiven\"\n\
                    [[thresholds]]\nname = \"low\"\nat = 100\nrearm_at = 150\n";
        let catalogue = Catalogue::parse(&format!("{UNITS}{text}")).unwrap();
        assert_eq!(catalogue.rules(), Rules { reversal_grace_s: 60, shortfall: Shortfall::Forgiven });
        let low = Threshold::try_new("low", Unit::try_new("").unwrap(), 100, 150).unwrap();
        assert_eq!(catalogue.thresholds(), [low]);
    }

    #[test]
    fn faults_name_their_line_and_field() {
        let low = "[[thresholds]]\nname = \"low\"\n";
        for (text, expected) in [
            ("[ledger]\nreversal_grace_s = 0\n".to_owned(), "line 4: ledger.reversal_grace_s"),
            (
                "[ledger]\nshortfall = \"debt\"\n".to_owned(),
                "line 4: ledger.shortfall must be owed or forgiven",
            ),
            ("[ledger]\ngrace = 1\n".to_owned(), "line 4: unknown field"),
            (format!("{low}at = 0\n"), "line 5: thresholds.low.at"),
            (format!("{low}at = 5\nrearm_at = 4\n"), "line 6: thresholds.low.rearm_at"),
            (format!("{low}at = 5\nunit = \"gems\"\n"), "line 6: thresholds.low.unit must be declared"),
            (format!("{low}at = 5\n{low}at = 6\n"), "line 7: thresholds.name is used twice"),
        ] {
            let error = Catalogue::parse(&format!("{UNITS}{text}")).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
