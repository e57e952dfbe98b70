module example.com/quotes

go 1.24

require golang.org/x/sync v0.0.0-20190423024810-112230192c58
