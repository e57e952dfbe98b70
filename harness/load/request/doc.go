// Package request is what is sent: which request is next, and what stands in it.
//
// A Plan holds either templates or targets. It is plain data and goes to the
// worker processes whole: the contents of files are in it, so that a worker on
// another machine needs no file. A Source makes vegeta's requests out of it.
//
// # Placeholders
//
// In the path, in the values of headers and in the body of a template stand
//
//	{seq}          the request's number
//	{token}        a text no other request has
//	{name}         a value of a .txt file, one value a line
//	{name.column}  a value of a .csv file with a header row
//
// Values are taken by row: request n uses row n modulo the number of rows, the
// same row in all its columns. In a path a value is percent-encoded, all but
// letters, digits and -._~ (RFC 3986, section 2.3), so that it stays one path
// segment or one value of the query; the template itself is sent as it is
// written. In a header and in a body a value stands verbatim.
//
// Braces around one word that is no placeholder are a mistake in a path or
// header. In a body, where braces are common, they are text unless the word is
// nearly a placeholder. Braces with a space inside, "{ id }", are always text; in
// a path, where no space may stand, "%7Bid%7D" is.
//
// # Numbers
//
// Several processes share one load. Each Source counts from a number of its own
// in steps, so that no number, and hence no token, is used by two of them.
// The requests of an attack, and their results, are numbered too, from 0 in each
// process and in an order of its own (vegeta's Attacker sends that number in the
// header X-Vegeta-Seq): the two numbers have nothing to do with each other.
package request
