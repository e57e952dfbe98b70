package mark

// Message is what attributes are written as.
func Message(attrs ...Attr) string { return message(attrs) }
