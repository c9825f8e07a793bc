from django.urls import path

from bench import views

urlpatterns = [
    path("hello", views.hello),
    path("page", views.page, name="page"),
    path("body100k", views.body100k),
    path("db", views.db),
    path("stream", views.stream),
    path("upload", views.upload),
]
