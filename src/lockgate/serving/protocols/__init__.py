"""What callers speak: the Open Inference Protocol, MLflow's scoring form, Arrow streams; and the page on them."""
