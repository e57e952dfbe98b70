module example.com/tickets

go 1.24

require github.com/hashicorp/golang-lru v0.6.0
