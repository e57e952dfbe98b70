module example.com/quotes

go 1.24

require golang.org/x/sync v0.1.0
