// Package rule turns signals into findings, by rules that are data: one YAML
// file a rule, with CEL expressions over signals, and with its own cases.
//
// It is pure, and deterministic to the byte: the same rules over the same
// signals give the same result on any machine. docs/rules.md is the guide for
// authors of rules.
//
// Evidence that is missing is never taken for evidence of absence. Every
// expression is evaluated in three values: true, false, or unknown together
// with the names of the signals whose absence decided that.
package rule
