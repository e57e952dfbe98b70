package main

// A marker in a test counts for nothing, however wrong: chokepoint:flaw x
func testOnly() {
	println("a") // chokepoint:flaw nonsense
}
