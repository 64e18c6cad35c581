"""What was answered and what turned out true: lines on disk, bounded and private, and their archive in Parquet."""
