"""Knowledge graphs: text to assertions with quotes, assertions to answers that can only say what is known."""
