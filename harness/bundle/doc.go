// Package bundle is the recording that stands between the live system and the
// analysis of it: one directory (or one .tar.gz of it), self-describing, whose
// artifacts open in the tools their users know.
//
// Live packages write bundles and never read conclusions out of them; pure
// packages read them and never touch a live system. The package therefore
// knows the shape of every artifact, and nothing of how it is made or judged.
//
// Reading trusts nothing: sizes are bounded, paths stay inside the bundle, and
// a damaged artifact is reported by name and costs only what depended on it.
//
// What is evidence and what is ground truth are kept in different files.
// manifest.json and the artifacts are evidence. scenario.json is ground truth:
// the scenario as resolved, with its name, variant, knobs and expectation. The
// Evidence type, which is all that signals and rules are given, has no way to
// reach it.
package bundle
