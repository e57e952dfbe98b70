module example.com/recipes

go 1.24

require gopkg.in/yaml.v2 v2.2.7
