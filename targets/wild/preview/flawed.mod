module example.com/preview

go 1.24

require golang.org/x/net v0.32.0
