module example.com/sessions

go 1.24

require github.com/hashicorp/golang-lru v0.5.4
