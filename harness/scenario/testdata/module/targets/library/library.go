// Package library is not a target.
package library
