"""Reading: pieces of text become statements with quotes, without a model or by one."""
