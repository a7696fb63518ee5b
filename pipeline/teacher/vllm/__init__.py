"""vLLM's OpenAI server as a child of a run: started, watched, started again and ended."""
