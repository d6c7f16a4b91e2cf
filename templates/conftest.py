# >>> cloudist >>>
# <<< cloudist <<<
